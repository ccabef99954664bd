"""Which form a file of labels has."""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sarlp.apps.spreadsheets.label_files.bad_cells import NAMING_COLUMNS
from sarlp.apps.spreadsheets.label_files.chexpert import NO_FINDINGS, CheXpert, chexpert_spelling, is_chexpert
from sarlp.apps.spreadsheets.label_files.coco_verified import VerifiedCoco
from sarlp.apps.spreadsheets.label_files.columns import Columns
from sarlp.apps.spreadsheets.label_files.cvat import CVATImages
from sarlp.apps.spreadsheets.label_files.fiftyone import FiftyOneLabels
from sarlp.apps.spreadsheets.label_files.imagefolder import (
    FILE_NAME,
    ImageFolderMetadata,
    hint_of_lists,
    list_columns,
    refuse_arrow,
    refuse_class_label,
)
from sarlp.apps.spreadsheets.label_files.labelstudio import LabelStudio, refuse_minimal
from sarlp.apps.spreadsheets.label_files.lists import LISTS, NameLists
from sarlp.apps.spreadsheets.label_files.named import rest_is_no
from sarlp.apps.spreadsheets.label_files.openimages import (
    COLUMNS,
    Confidence,
    OpenImages,
    is_open_images,
    read_class_names,
)
from sarlp.apps.spreadsheets.label_files.roboflow import Roboflow, is_roboflow
from sarlp.apps.spreadsheets.label_files.sheets import CSVSheet, JSONLinesSheet
from sarlp.apps.spreadsheets.label_files.spelling import Spelling
from sarlp.apps.spreadsheets.label_files.strangers import refuse_columns, refuse_no_file, refuse_stranger
from sarlp.apps.spreadsheets.label_files.tables import (
    CLASS_COLUMNS,
    IMAGE_COLUMNS,
    VALUE_COLUMNS,
    Long,
    Sheet,
    Wide,
)
from sarlp.apps.spreadsheets.label_files.tags import Tags, column_of_names
from sarlp.apps.spreadsheets.label_files.text import decode
from sarlp.apps.spreadsheets.label_files.workbooks import open_workbook, workbook_kind
from sarlp.datasets.annotation import AnnotationError
from sarlp.labels import UNKNOWN
from sarlp.names.clean_names import clean_name

_WHOLE = ('coco', 'labelstudio', 'cvat', 'fiftyone')  # what is no table
FORMS = ('wide', 'long', 'lists', 'roboflow', 'openimages', 'chexpert', 'imagefolder', 'tags', *_WHOLE)
LabelFile = (
    Wide | Long | NameLists | VerifiedCoco | LabelStudio | CVATImages | FiftyOneLabels | ImageFolderMetadata | Tags
)


def open_labels(
    path: str | os.PathLike,
    is_image: Callable[[str], bool] = lambda text: False,
    form: str | None = None,
    json_lines: bool | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    image_column: str | None = None,
    class_column: str | None = None,
    value_column: str | None = None,
    class_columns: Sequence[str] | None = None,
    ignore_columns: Sequence[str] = (),
    positive: Sequence[str] = (),
    negative: Sequence[str] = (),
    unknown: Sequence[str] = (),
    sheet: str | None = None,
    group_column: str | None = None,
    split_column: str | None = None,
    class_names: str | os.PathLike | Mapping[str, str] | None = None,
    separator: str | None = None,
) -> LabelFile:
    """Open a file of labels in the form that it has.

    Args:
        path: CSV, an Excel or OpenDocument workbook, JSON lines, COCO JSON, or the export of a tool.
        is_image: whether a text names an image that is there; needed where no column has a telling name.
        form: one of :data:`FORMS`; None to find it.
        json_lines: whether tables are JSON lines; None to find it.
        encoding, delimiter: of CSV and JSON lines; None to find them.
        image_column: name of the column, or key, of the images; None to find it.
        class_column, value_column: those of the long form; None to find them. The first is also that of tags, of the
            lists of an imagefolder, and the ``from_name`` of the choices of Label Studio.
        class_columns: those of the wide form; None for all that are no image and not ignored.
        ignore_columns: columns that are no class.
        positive, negative, unknown: spellings, see :class:`~.spelling.Spelling`. ``negative=['']`` also says that what
            a form that names what is there does not name is no, COCO without verified classes among them.
        sheet: of a workbook, by name; None for the first.
        group_column: name of the column, or key, that says which images belong together; its values are those of
            ``groups()``.
        split_column: that which says on which side of the split an image is; its values are those of ``splits()``. None
            for one that is called so (:data:`~.columns.SPLIT_COLUMNS`) and has nothing else.
        class_names: of Open Images, the file that has names of its classes, or these by what it calls them.
        separator: between the names in a cell of tags, see :class:`~.tags.Tags`; None to find it.

    Returns:
        What reads and writes it: ``classes``, ``statements()``, ``rewrite()``, ``settings()``.

    Raises:
        AnnotationError: the file is not as it must be.
    """
    path = Path(path)
    if form is not None and form not in FORMS:
        raise AnnotationError(f'expected the form to be one of {", ".join(FORMS)}, found {form!r}.')
    if separator is not None:
        _refuse(path, form or Tags.form, separator=None if form in (None, Tags.form) else separator)
        form = Tags.form
    refuse_arrow(path)
    refuse_no_file(path)
    if not path.is_file():
        raise AnnotationError(f'{path}: there is no such file of labels.')
    kind = workbook_kind(path)
    if kind is not None:
        _check_workbook(path, form, json_lines=json_lines, encoding=encoding, delimiter=delimiter)
        table: Sheet = open_workbook(kind, path, sheet)
    else:
        if sheet is not None:
            raise AnnotationError(f'{path}: --sheet names a sheet of a workbook, and this file has none. Leave it out.')
        if form is None:
            refuse_stranger(path, encoding)
        begins = _begins_with(path, encoding)
        if form is None and not json_lines and begins in _WHOLE:
            form = begins
        if form in _WHOLE:
            _refuse(path, form, group_column=group_column, split_column=split_column, value_column=value_column)
            _refuse(path, form, class_columns=class_columns, ignore_columns=ignore_columns, class_names=class_names)
            _refuse(path, form, encoding=encoding, delimiter=delimiter)
            if form != LabelStudio.form:
                _refuse(path, form, image_column=image_column, class_column=class_column)
            told = rest_is_no(path, positive, negative, unknown)
            if form == VerifiedCoco.form:
                return VerifiedCoco(path, told)
            if form == LabelStudio.form:
                return LabelStudio(path, told, image_column, class_column)
            return CVATImages(path, told) if form == CVATImages.form else FiftyOneLabels(path, told)
        if json_lines is None or form == 'lists':  # which CSV has not
            json_lines = begins is not None or form == 'lists'
        if json_lines:
            _refuse(path, 'JSON lines', delimiter=delimiter)
        content, names = path.read_bytes(), (*_lower(image_column), *IMAGE_COLUMNS)
        table = (
            JSONLinesSheet(content, path, encoding)
            if json_lines
            else CSVSheet(content, path, encoding, delimiter, names)
        )
    refuse_minimal(path, table.header)
    refuse_columns(path, table.header)
    columns = Columns(table, ignore_columns)
    beside = columns.beside(group_column, split_column, class_columns)
    if form is None and class_column is None and value_column is None:
        form = _known_table(path, table)
    if class_names is not None and form != OpenImages.form:
        raise AnnotationError(f'{path}: --class-names goes with the form openimages, and this file is none.')
    if form == Roboflow.form and image_column is None:
        image_column = table.header[0]  # whatever its classes are called
    image = columns.named('--image-column', image_column) if image_column is not None else columns.image(is_image)
    if isinstance(table, JSONLinesSheet) and (form == 'lists' or (form is None and _has_lists(table))):
        of_cells = dict(positive=positive, negative=negative, unknown=unknown)
        _refuse(path, NameLists.form, class_column=class_column, value_column=value_column, **of_cells)
        _refuse(path, NameLists.form, class_columns=class_columns)
        return NameLists(table, image, beside)
    free = form is None and class_column is None and value_column is None and class_columns is None
    if form == ImageFolderMetadata.form:
        _refuse(path, form, value_column=value_column, class_columns=class_columns)
    if form == ImageFolderMetadata.form or free:
        names_column = _column_of_lists(table, columns, image, class_column, form)
        if names_column is not None:
            told = rest_is_no(path, positive, negative, unknown)
            return ImageFolderMetadata(table, image, names_column, told, beside)
    if form in (OpenImages.form, Long.form):
        _refuse(path, form, class_columns=class_columns)
    words = positive or unknown or any(map(clean_name, negative))  # those of labels, which names are none of
    if form == Tags.form or (form is None and value_column is None and class_columns is None and not words):
        _refuse(path, Tags.form, value_column=value_column, class_columns=class_columns)
        names_column = _column_of_names(table, columns, image, class_column, form)
        if names_column is not None:
            unread = [table.header[column] for column in columns.free if column not in (image, names_column)]
            told = rest_is_no(path, positive, negative, unknown)
            return Tags(table, image, names_column, told, beside, separator, unread)
    if form == OpenImages.form:
        # the two that its settings name, and no others
        _refuse(path, form, class_column=None if class_column == 'LabelName' else class_column)
        _refuse(path, form, value_column=None if value_column == 'Confidence' else value_column)
        place = {name: columns.named(f'--form {form}', name) for name in COLUMNS}
        called = class_names if isinstance(class_names, Mapping | None) else read_class_names(class_names)
        of_cells = Confidence(positive, negative, unknown, quoted=bool(json_lines))
        return OpenImages(
            table, image, of_cells, place['LabelName'], place['Confidence'], place['Source'], beside, called
        )
    spelling = Spelling(positive, negative, unknown, quoted=bool(json_lines))
    if form == CheXpert.form:
        spelling = chexpert_spelling(positive, negative, unknown, quoted=bool(json_lines))
        columns.free = [column for column in columns.free if table.header[column] not in NO_FINDINGS]
    given = (('--class-column', class_column, CLASS_COLUMNS), ('--value-column', value_column, VALUE_COLUMNS))
    if form is None and class_columns is None and table.class_columns is None:
        long = class_column is not None or value_column is not None or columns.looks_long(image, spelling)
        form = 'long' if long else 'wide'
    if form == 'long':
        used = [image]
        for option, name, usual in given:
            used.append(columns.named(option, name) if name is not None else columns.first(usual, used, option))
        of_class, of_value = used[1:]
        return Long(table, image, spelling, of_class, of_value, beside)
    _refuse(path, form or Wide.form, class_column=class_column, value_column=value_column)
    possible = [column for column in table.class_columns or columns.free if column in columns.free and column != image]
    for name in class_columns or ():
        columns.named('--class-columns', name)
    wanted = None if class_columns is None else set(map(clean_name, class_columns))
    chosen = [column for column in possible if wanted is None or table.header[column] in wanted]
    if form == Wide.form and wanted is None and table.class_columns is None:
        columns.refuse_splits(chosen)
    kinds: dict[str | None, type[Wide]] = {kind.form: kind for kind in (Roboflow, CheXpert)}
    return kinds.get(form, Wide)(table, image, spelling, chosen, beside)


def _known_table(path: Path, table: Sheet) -> str | None:
    """The form of a table that a data set or a tool has."""
    if is_roboflow(path, table.header):
        return Roboflow.form
    if is_chexpert(table.header):
        return CheXpert.form
    return OpenImages.form if is_open_images(table.header) else None


def _column_of_lists(table: Sheet, columns: 'Columns', image: int, given: str | None, form: str | None) -> int | None:
    """The column of lists of names; None if there is none, where the form is not told."""
    if given is not None:
        return columns.named('--class-column', given)
    free = [column for column in columns.free if column != image]
    only = len(free) == 1 and table.header[free[0]].lower() in NAMING_COLUMNS
    if form is None and FILE_NAME not in table.header and not only:
        return None
    found = list_columns(table, free)
    if form is None:  # beside columns of labels a list may be anything
        refuse_class_label(table, free)
        others = [column for column in free if column not in found]
        return found[0] if len(found) == 1 and not any(_has_labels(table, column) for column in others) else None
    if len(found) == 1:
        return found[0]
    raise AnnotationError(
        f'{table.path}: {len(found) or "no"} columns have lists of names in all cells that are not blank. Name one '
        f'with --class-column.{"" if found else hint_of_lists(table, free)}'
    )


def _column_of_names(table: Sheet, columns: Columns, image: int, given: str | None, form: str | None) -> int | None:
    """The column that names what is there; None if there is none, or the table is long, where the form is not told."""
    if given is not None:
        column = columns.named('--class-column', given)
        values = (table.header[other].lower() for other in columns.free if other not in (image, column))
        return column if form is not None or not {*values} & {*VALUE_COLUMNS} else None
    if form is None:
        long = columns.looks_long(image, Spelling(quoted=isinstance(table, JSONLinesSheet)))
        return None if long else column_of_names(table, columns, image)
    free = [column for column in columns.free if column != image]
    return free[0] if len(free) == 1 else columns.first(sorted(NAMING_COLUMNS), [image], '--class-column')


def _has_labels(table: Sheet, column: int) -> bool:
    """Whether all cells of a column are labels, and some known."""
    spelling = Spelling(quoted=isinstance(table, JSONLinesSheet))
    codes = {spelling[table.cells(row, (column,))[0]] for _, row in table.rows()}
    return None not in codes and bool(codes - {UNKNOWN})


def settings_of(labels: LabelFile) -> dict[str, Any]:
    """The arguments with which :func:`open_labels` opens the same file in the same way, finding nothing by itself."""
    return {'form': labels.form, **labels.settings()}


def _refuse(path: Path, form: str, **given: Any) -> None:
    """Refuse options that are given and that a form has no use for: what they say would be left out in silence."""
    for name, value in given.items():
        if value is not None and value != () and value != []:
            raise AnnotationError(f'{path}: --{name.replace("_", "-")} does not go with the form {form}. Leave it out.')


def _check_workbook(path: Path, form: str | None, **of_text: Any) -> None:
    """Refuse what is said of a workbook as if it were a text."""
    given = [f'--{name}' for name, value in of_text.items() if value is not None and name != 'json_lines']
    if form in ('lists', *_WHOLE):
        given.append(f'--form {form}')
    if given:
        raise AnnotationError(f'{path}: this is a workbook, and {" and ".join(given)} goes with text. Leave it out.')


def _lower(name: str | None) -> tuple[str, ...]:
    return () if name is None else (clean_name(name).lower(),)


def _has_lists(sheet: JSONLinesSheet) -> bool:
    return any(isinstance(row.get(key), list) for _, row in sheet.rows() for key in LISTS)


def _begins_with(path: Path, encoding: str | None) -> str | None:
    """One of ``_WHOLE`` for what seems to be that, ``'lines'`` for a JSON value a line, None for neither."""
    with open(path, 'rb') as file:
        head = file.read(1 << 20)
    try:
        text = decode(head, path, encoding)[0].lstrip()
    except AnnotationError:  # no text, of which reading will tell, or a letter cut in two far into a long line
        return None
    line, _, more = text.partition('\n')
    if text.startswith(('<?xml', '<annotations')):
        return CVATImages.form
    if line[:1] == '[':
        return LabelStudio.form
    if line[:1] != '{':
        return None
    if re.match(r'\{\s*"type":\s*"eta\.core\.datasets', text):
        raise AnnotationError(
            f'{path}: this is the manifest of a FiftyOneImageLabelsDataset, whose labels stand in a file an image. '
            'Export the field as FiftyOneImageClassificationDataset and give its labels.json.'
        )
    try:
        first = json.loads(line)
    except (ValueError, RecursionError):  # an object over several lines
        return FiftyOneLabels.form if re.match(r'\{\s*"(classes|labels)"', text) else VerifiedCoco.form
    if 'data_list' in first and 'metainfo' in first:
        raise AnnotationError(f'{path}: this is an annotation file of sarlp already; nothing is to be converted.')
    if more.strip():
        return 'lines'
    if 'labels' in first and first.keys() <= {'classes', 'labels'}:
        return FiftyOneLabels.form
    return VerifiedCoco.form if 'images' in first else 'lines'
