"""Which column of a table is which."""

from collections.abc import Callable, Sequence

from sarlp.apps.spreadsheets.label_files.sheets import FILLED
from sarlp.apps.spreadsheets.label_files.spelling import Spelling
from sarlp.apps.spreadsheets.label_files.tables import CLASS_COLUMNS, IMAGE_COLUMNS, VALUE_COLUMNS, Beside, Sheet
from sarlp.datasets.annotation import AnnotationError
from sarlp.errors import shorten
from sarlp.names.clean_names import clean_name

# lower-case names of columns, and what they say
SPLIT_COLUMNS = ('split', 'subset', 'partition', 'set', 'data_split', 'dataset_split')
SPLIT_WORDS = {
    **dict.fromkeys(('train', 'training', 'trainval'), 'train'),
    **dict.fromkeys(('val', 'valid', 'validation', 'dev'), 'val'),
    **dict.fromkeys(('test', 'testing'), 'test'),
}


class Columns:
    """Columns of a sheet by name."""

    def __init__(self, sheet: Sheet, ignored: Sequence[str]) -> None:
        self.sheet = sheet
        self.free = [*range(len(sheet.header))]
        for name in ignored:
            self.named('--ignore-columns', name, once=False)
        left_out = {FILLED, *map(clean_name, ignored)}
        self.free = [column for column in self.free if sheet.header[column] not in left_out]
        self._lower = [name.lower() for name in sheet.header]

    def beside(self, group: str | None, split: str | None, classes: Sequence[str] | None) -> Beside:
        """Take out what is said of the images beside their labels.

        Args:
            group, split: names of those columns; None for no groups, and for a column that is called so and has
                nothing else than names of splits.
            classes: names of the columns that are told to be classes, or None.
        """
        of_groups = None if group is None else self.named('--group-column', group)
        if split is not None:
            of_splits: int | None = self.named('--split-column', split)
            if of_splits == of_groups:
                raise AnnotationError(
                    f'{self.sheet.path}: --group-column and --split-column both name {split!r}. Name two columns.'
                )
        else:
            told = {*map(clean_name, classes or ()), *(self.sheet.header[c] for c in self.sheet.class_columns or ())}
            of_splits = next((column for column in self.free if self._has_splits(column, told)), None)
        self.free = [column for column in self.free if column not in (of_groups, of_splits)]
        return Beside(of_groups, of_splits, split is not None)

    def _has_splits(self, column: int, classes: set[str]) -> bool:
        if self._lower[column] not in SPLIT_COLUMNS or self.sheet.header[column] in classes:
            return False
        words = {self.sheet.text(row, column).strip().lower() for _, row in self.sheet.rows()} - {''}
        return bool(words) and words <= SPLIT_WORDS.keys()

    def refuse_splits(self, classes: Sequence[int]) -> None:
        """Refuse a column of a split that has no names of splits, and so would be a class that nobody meant."""
        for column in classes:
            if self._lower[column] in SPLIT_COLUMNS and self._lower[column] != 'set':  # which people photograph
                words = dict.fromkeys(self.sheet.text(row, column).strip() for _, row in self.sheet.rows())
                found = [repr(word) for word in words if word and word.lower() not in SPLIT_WORDS]
                raise AnnotationError(
                    f'{self.sheet.path}: the column {self.sheet.header[column]!r} is called as one of a split is, and '
                    f'has {shorten(found) if found else "blank cells only"} instead of {", ".join(SPLIT_WORDS)}. '
                    'Correct its cells, leave it out with --ignore-columns, or, if it is a class, name the classes '
                    'with --class-columns.'
                )

    def named(self, option: str, name: str, once: bool = True) -> int:
        """The column that an option names."""
        found = [column for column in self.free if self.sheet.header[column] == clean_name(name)]
        if not found or (once and len(found) > 1):
            raise AnnotationError(
                f'{self.sheet.path}: {len(found) or "no"} columns are called {name!r}, which {option} names; there are '
                f'{shorten([repr(self.sheet.header[column]) for column in self.free])}.'
            )
        return found[0]

    def _alone(self, column: int) -> int:
        """A column that was found, if no other is called so: labels are written back, perhaps hours later, by names."""
        name = self.sheet.header[column]
        alike = sum(self.sheet.header[other] == name for other in self.free)
        if alike > 1 and not name:
            raise AnnotationError(
                f'{self.sheet.path}: the first line that is not blank should name the columns, and names neither '
                f'that of the images nor {alike - 1} more. If it is a title, or names groups of columns, delete it.'
            )
        if alike > 1:
            raise AnnotationError(
                f'{self.sheet.path}: more than one column is called {name!r}, and one of them has images, classes or '
                'values. Rename or delete the others.'
            )
        return column

    def first(self, names: Sequence[str], but: Sequence[int], option: str) -> int:
        """The column with the first of some names."""
        for name in names:
            for column in self.free:
                if self._lower[column] == name and column not in but:
                    return self._alone(column)
        other = '; if a row says what is there, read the file with --form tags' if names is VALUE_COLUMNS else ''
        raise AnnotationError(
            f'{self.sheet.path}: none of the columns {shorten(list(map(repr, self.sheet.header)))} has a name such as '
            f'{shorten(names)}. Name the column with {option}{other}.'
        )

    def image(self, is_image: Callable[[str], bool]) -> int:
        """The column of the images: by its name, or else the first one that names images that are there."""
        classes = self.sheet.class_columns or ()
        found = [column for column in self.free if self._lower[column] in IMAGE_COLUMNS and column not in classes]
        if found:
            return self._alone(min(found, key=lambda column: IMAGE_COLUMNS.index(self._lower[column])))
        if any(is_image(name) for name in self.sheet.header):
            raise AnnotationError(
                f'{self.sheet.path}: the first line must name the columns, such as image,cat,dog, but it has the image '
                f'{next(name for name in self.sheet.header if is_image(name))!r}.'
            )
        for column in self.free:
            for _, row in self.sheet.rows():
                text = self.sheet.text(row, column)
                if text.strip() and is_image(text):
                    return self._alone(column)
        others = getattr(self.sheet, 'other_sheets', str)()
        raise AnnotationError(
            f'{self.sheet.path}: which of the columns {shorten(list(map(repr, self.sheet.header)))} has the images? '
            'None is called image, file_name or the like, and no cell names a file below the folder of the images. '
            f'Name it with --image-column, or correct the folder of the images.{others}'
        )

    def looks_long(self, image: int, spelling: Spelling) -> bool:
        """Whether there are columns of class and value, and the classes are no labels: a class may be called "tag"."""
        try:
            name = self.first(CLASS_COLUMNS, [image], '')
            self.first(VALUE_COLUMNS, [image, name], '')
        except AnnotationError:
            return False
        cells = (self.sheet.cells(row, (name,))[0] for _, row in self.sheet.rows())
        return any(spelling[cell] is None for cell in cells)
