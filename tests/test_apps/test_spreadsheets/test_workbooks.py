"""Excel and OpenDocument workbooks, written by openpyxl and odfpy: labels in, labels out, and all else as it was."""

import io
import zipfile
from datetime import date

import numpy as np
import openpyxl
import pytest
from odf import opendocument, style, table, teletype, text
from odf.namespaces import OFFICENS, TABLENS
from openpyxl.comments import Comment
from openpyxl.styles import Font, PatternFill

from sarlp.apps.spreadsheets.csv_labels import convert_csv_labels
from sarlp.apps.spreadsheets.label_files import merge, open_labels
from sarlp.apps.spreadsheets.label_files.cells import column_letters
from sarlp.apps.spreadsheets.label_source import label_arrays, write_labels_like_source
from sarlp.datasets.annotation import AnnotationError

CLASSES = ('ant', 'bee', 'cow', 'dog, wild', 'élan')
NAMES = tuple(f'{number}.jpg' for number in range(11))
WORDS = {1: 'Yes', 0: 'No', -1: None}
STYLE = ('font', 'fill', 'border', 'alignment', 'number_format')
OPTIONS = dict(val_fraction=0.4, seed=2)


def write_xlsx(path, rows, title='Labels'):
    book = openpyxl.Workbook()
    book.active.title = title
    for row in rows:
        book.active.append(row)
    book.save(path)
    return book


def ods_cell(value):
    if value is None:
        return table.TableCell()
    if isinstance(value, bool):
        return table.TableCell(valuetype='boolean', booleanvalue=str(value).lower())
    if isinstance(value, int | float):
        return table.TableCell(valuetype='float', value=value)
    if isinstance(value, date):
        return table.TableCell(valuetype='date', datevalue=value.isoformat())
    cell = table.TableCell(valuetype='string')
    cell.addElement(text.P(text=value))
    return cell


def write_ods(path, rows, title='Labels'):
    document = opendocument.OpenDocumentSpreadsheet()
    sheet = table.Table(name=title)
    for row in rows:
        element = table.TableRow()
        for value in row:
            element.addElement(ods_cell(value))
        sheet.addElement(element)
    document.spreadsheet.addElement(sheet)
    document.write(path)


WRITERS = {'.xlsx': write_xlsx, '.ods': write_ods}


def read_ods(path, sheet=0):
    """Texts of the cells, by a loop that knows nothing of repeats but what it needs here."""
    tables = opendocument.load(path).spreadsheet.getElementsByType(table.Table)
    rows = []
    for row in tables[sheet].getElementsByType(table.TableRow):
        cells = []
        for cell in row.getElementsByType(table.TableCell):
            times = int(cell.attributes.get((TABLENS, 'number-columns-repeated'), 1))
            value = cell.attributes.get((OFFICENS, 'value')) or cell.attributes.get((OFFICENS, 'boolean-value'))
            words = ''.join(map(teletype.extractText, cell.getElementsByType(text.P)))
            cells += [str(value) if value is not None else words] * times
        rows += [cells] * int(row.attributes.get((TABLENS, 'number-rows-repeated'), 1))
    return rows


@pytest.fixture
def convert(tmp_path):
    def run(path, **options):
        for image in NAMES:
            (tmp_path / 'photos' / image).parent.mkdir(exist_ok=True)
            (tmp_path / 'photos' / image).touch()
        convert_csv_labels(path, tmp_path / 'photos', tmp_path / 'data', **{**OPTIONS, **options})
        return tmp_path / 'data'

    return run


def labels_in(root):
    return label_arrays([root / 'labels/trainval.json', root / 'labels/test.json'])[1]


def wide(labels, words=WORDS):
    return [['image', *CLASSES], *([n, *(words[int(c)] for c in row)] for n, row in zip(NAMES, labels, strict=True))]


def long(labels):
    pairs = [(n, c, code) for n, row in zip(NAMES, labels, strict=True) for c, code in zip(CLASSES, row, strict=True)]
    return [['image', 'class', 'value'], *([n, c, WORDS[int(code)]] for n, c, code in pairs if code != -1)]


def random_labels(seed):
    labels = np.random.default_rng(seed).choice([1, 0, -1], (len(NAMES), len(CLASSES)))
    labels[0], labels[1] = 1, 0
    return labels


@pytest.mark.parametrize('form', [wide, long])
@pytest.mark.parametrize('suffix', WRITERS)
def test_labels_go_in_and_out(convert, tmp_path, suffix, form):
    before, after = random_labels(1), random_labels(2)
    WRITERS[suffix](tmp_path / f'labels{suffix}', form(before))
    root = convert(tmp_path / f'labels{suffix}')
    found = labels_in(root)
    assert list(found.keys()) and all((found[n] == row).all() for n, row in zip(NAMES, before, strict=True))
    labels = dict(zip(NAMES, after, strict=True))
    write_labels_like_source(labels, root, tmp_path / f'out{suffix}', CLASSES)
    again = labels_in(convert(tmp_path / f'out{suffix}'))
    assert all((again[n] == labels[n]).all() for n in NAMES)


KINDS = {
    'numbers': ({1: 1, 0: 0, -1: None}, (1, 0)),
    'fractions': ({1: 1.0, 0: 0.0, -1: None}, (1, 0)),
    'texts': ({1: '1', 0: '0', -1: ' '}, ('1', '0')),
    'truth values': ({1: True, 0: False, -1: None}, (True, False)),
    'only yes': ({1: 1, 0: None, -1: None}, (1, 0)),
    'only true': ({1: True, 0: None, -1: None}, (True, False)),
    'words': ({1: 'JA', 0: 'NEIN', -1: '?'}, ('JA', 'NEIN')),
}


@pytest.mark.parametrize('suffix', WRITERS)
@pytest.mark.parametrize('kind', KINDS)
def test_a_cell_is_of_the_kind_of_the_others(convert, tmp_path, kind, suffix):
    words, (yes, no) = KINDS[kind]
    labels = random_labels(3)
    labels[2] = -1
    WRITERS[suffix](tmp_path / f'a{suffix}', wide(labels, words))
    own = dict(positive=['ja'], negative=['nein']) if kind == 'words' else {}
    root = convert(tmp_path / f'a{suffix}', **own)
    for name, row in zip(NAMES, labels, strict=True):
        expected = np.where(row == 0, 0 if words[0] is not None else -1, row)
        assert labels_in(root)[name].tolist() == expected.tolist()
    filled = {NAMES[2]: np.array([1, 0, 1, 0, 0])}
    write_labels_like_source(filled, root, tmp_path / f'b{suffix}', CLASSES)
    wanted = [yes, no, yes, no, no]
    if suffix == '.xlsx':
        cells = [cell.value for cell in openpyxl.load_workbook(tmp_path / 'b.xlsx').active[4]][1:]
        assert cells == wanted and [type(cell) for cell in cells] == [type(cell) for cell in wanted]
    else:
        assert read_ods(tmp_path / 'b.ods')[3][1:] == [
            str(value).lower() if isinstance(value, bool) else str(value) for value in wanted
        ]


@pytest.fixture
def rich(tmp_path):
    """A workbook with everything that a person may have put into it; its cells C3 and B4 are blank."""
    book = write_xlsx(
        tmp_path / 'rich.xlsx', [['file', 'ant', 'bee', 'note', 'sum'], ['0.jpg', 1, 0, 'x', '=SUM(B2:C2)']]
    )
    sheet = book.active
    sheet.append(['1.jpg', 0])
    sheet.append(['2.jpg', None, 1])
    sheet.append(['3.jpg', 1, 1])
    sheet['A1'].font = Font(bold=True, color='FFFF0000')
    sheet['B2'].number_format = '0.00'
    sheet['D2'].comment = Comment('mine', 'Ada')
    sheet['B4'].comment = Comment('look again', 'Ada')
    sheet['B4'].font = Font(italic=True)
    sheet['B2'].fill = PatternFill('solid', fgColor='FF00FF00')
    sheet.column_dimensions['A'].width = 31
    sheet.freeze_panes = 'B2'
    other = book.create_sheet('Counts')
    other.append(['rows', '=COUNTA(Labels!A2:A99)'])
    other.merge_cells('C1:D1')
    book.save(tmp_path / 'rich.xlsx')
    return tmp_path / 'rich.xlsx'


def test_all_else_stays_in_excel(convert, rich, tmp_path):
    root = convert(rich, ignore_columns=['note', 'sum'])
    labels = {'1.jpg': np.array([0, 1]), '2.jpg': np.array([0, 1]), '5.jpg': np.array([1, -1])}
    notes = {'1.jpg': {'bee': 'probability 0.97'}, '2.jpg': {'ant': 'probability 0.013'}}
    counts = write_labels_like_source(labels, root, tmp_path / 'out.xlsx', ('ant', 'bee'), notes)
    assert counts == {'positive': 2, 'negative': 1, 'unknown': 0}
    before, after = openpyxl.load_workbook(rich), openpyxl.load_workbook(tmp_path / 'out.xlsx')
    changed = {'C3': 1, 'B4': 0, 'A6': '5.jpg', 'B6': 1}
    assert after.sheetnames == before.sheetnames
    for name in before.sheetnames:
        old, new = before[name], after[name]
        for row in new.iter_rows():
            for cell in row:
                was = old[cell.coordinate]
                if name == 'Labels' and cell.coordinate in changed:
                    assert cell.value == changed[cell.coordinate]
                else:
                    assert cell.value == was.value
                    assert all(repr(getattr(cell, of)) == repr(getattr(was, of)) for of in STYLE)
        assert new.freeze_panes == old.freeze_panes
        assert new.column_dimensions['A'].width == old.column_dimensions['A'].width
        assert new.merged_cells.ranges == old.merged_cells.ranges
    sheet = after['Labels']
    assert sheet['C3'].comment.text == 'filled in by sarlp: probability 0.97'
    assert sheet['B4'].comment.text == 'look again\nfilled in by sarlp: probability 0.013'
    assert sheet['B4'].font.i and sheet['D2'].comment.text == 'mine'
    assert sheet['C3'].fill.fgColor.rgb == sheet['B4'].fill.fgColor.rgb == 'FFFFF2CC'
    assert sheet['B3'].fill.fill_type is None


@pytest.mark.parametrize('suffix', ['.xlsx', '.ods', '.csv'])
def test_what_was_filled_in_is_no_class_and_is_told(convert, tmp_path, suffix, capsys):
    rows = wide(random_labels(4))
    rows[3][1:] = [None] * 5
    if suffix == '.csv':
        lines = [','.join(f'"{cell or ""}"' for cell in row) for row in rows]
        (tmp_path / 'a.csv').write_text('\n'.join(lines) + '\n', encoding='utf-8')
    else:
        WRITERS[suffix](tmp_path / f'a{suffix}', rows)
    root = convert(tmp_path / f'a{suffix}')
    assert 'sarlp filled' not in capsys.readouterr().out
    notes = {'2.jpg': {'bee': 'probability 0.99', 'cow': 'probability 0.01'}}
    write_labels_like_source({'2.jpg': np.array([-1, 1, 0, -1, -1])}, root, tmp_path / f'out{suffix}', CLASSES, notes)
    again = labels_in(convert(tmp_path / f'out{suffix}'))
    assert again['2.jpg'].tolist() == [-1, 1, 0, -1, -1]
    assert f'note: {2 if suffix == ".xlsx" else 1} of its cells or rows say' in capsys.readouterr().out
    if suffix == '.ods':
        cells = read_ods(tmp_path / 'out.ods')
        assert (cells[0][-1], cells[3][-1]) == ('filled by sarlp', 'bee probability 0.99; cow probability 0.01')
    if suffix == '.csv':
        lines = (tmp_path / 'out.csv').read_text('utf-8').splitlines()
        assert lines[0].endswith(',filled by sarlp') and lines[3].endswith('bee probability 0.99; cow probability 0.01')
        assert lines[1].endswith(',')


def test_repeated_rows_and_cells_of_opendocument_are_parted(convert, tmp_path):
    document = opendocument.OpenDocumentSpreadsheet()
    green = style.Style(name='green', family='table-cell')
    green.addElement(style.TableCellProperties(backgroundcolor='#00ff00'))
    document.automaticstyles.addElement(green)
    sheet = table.Table(name='One')
    sheet.addElement(table.TableColumn(numbercolumnsrepeated=5))
    head = table.TableRow()
    for name in ('image', 'ant', 'bee', 'cow'):
        head.addElement(ods_cell(name))
    sheet.addElement(head)
    sheet.addElement(table.TableRow(numberrowsrepeated=3))
    row = table.TableRow()
    row.addElement(ods_cell('0.jpg'))
    blank = table.TableCell(numbercolumnsrepeated=3, stylename='green')
    row.addElement(blank)
    sheet.addElement(row)
    for name in NAMES[1:4]:
        row = table.TableRow()
        row.addElement(ods_cell(name))
        cell = table.TableCell(valuetype='string', numbercolumnsrepeated=2)
        cell.addElement(text.P(text='no' if name != '3.jpg' else 'yes'))
        row.addElement(cell)
        sheet.addElement(row)
    sheet.addElement(table.TableRow(numberrowsrepeated=1_048_000))
    document.spreadsheet.addElement(sheet)
    other = table.Table(name='Two')
    row = table.TableRow()
    row.addElement(table.TableCell(formula='of:=1+1', valuetype='float', value=2))
    other.addElement(row)
    document.spreadsheet.addElement(other)
    document.write(tmp_path / 'a.ods')

    root = convert(tmp_path / 'a.ods')
    assert labels_in(root)['3.jpg'].tolist() == [1, 1, -1]
    labels = {'0.jpg': np.array([-1, 1, -1]), '2.jpg': np.array([0, 0, 1]), '7.jpg': np.array([-1, -1, 0])}
    write_labels_like_source(labels, root, tmp_path / 'out.ods', ('ant', 'bee', 'cow'))
    again = labels_in(convert(tmp_path / 'out.ods'))
    for name, codes in {**labels, '1.jpg': np.array([0, 0, -1]), '3.jpg': np.array([1, 1, -1])}.items():
        assert again[name].tolist() == codes.tolist()
    written = opendocument.load(tmp_path / 'out.ods')
    tables = written.spreadsheet.getElementsByType(table.Table)
    (formula,) = tables[1].getElementsByType(table.TableCell)
    assert formula.attributes[TABLENS, 'formula'] == 'of:=1+1'
    of_first = tables[0].getElementsByType(table.TableRow)[2].getElementsByType(table.TableCell)
    assert [cell.attributes.get((TABLENS, 'style-name')) for cell in of_first] == [None, *['green'] * 3]


def cached(path, cell, value):
    """Give a formula the value that Excel would save with it."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = 'xl/worksheets/sheet1.xml'
    there = f'<c r="{cell}"><f>B2</f><v /></c>'.encode()
    assert there in parts[name], parts[name]
    parts[name] = parts[name].replace(there, f'<c r="{cell}"><f>B2</f><v>{value}</v></c>'.encode())
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def test_a_formula_has_the_value_that_was_saved_with_it(tmp_path, convert):
    rows = [['image', 'ant', 'bee'], *([name, number % 2, '=B2'] for number, name in enumerate(NAMES))]
    write_xlsx(tmp_path / 'a.xlsx', rows)
    with pytest.raises(AnnotationError, match=r'cell C2 has a formula whose value was not saved.*save it there'):
        convert(tmp_path / 'a.xlsx')
    root = convert(tmp_path / 'a.xlsx', ignore_columns=['bee'])  # where nobody asks for it
    assert labels_in(root)['1.jpg'].tolist() == [1]
    for number in range(2, 13):
        cached(tmp_path / 'a.xlsx', f'C{number}', number % 3 % 2)
    assert labels_in(convert(tmp_path / 'a.xlsx'))['2.jpg'].tolist() == [0, 4 % 3 % 2]


def test_what_a_filled_cell_held_is_kept_in_its_comment(tmp_path, convert):
    rows = [['image', 'ant', 'bee'], ['0.jpg', 1, 0], ['1.jpg', '?', 0], ['0.jpg', 0, None], ['2.jpg', ' ', 1]]
    write_xlsx(tmp_path / 'a.xlsx', rows)
    root = convert(tmp_path / 'a.xlsx', on_conflict='unknown', val_fraction=0.5)
    filled = {name: np.array([1, code]) for name, code in (('0.jpg', 0), ('1.jpg', 0), ('2.jpg', 1))}
    notes = {name: {'ant': 'probability 0.9'} for name in filled}
    write_labels_like_source(filled, root, tmp_path / 'b.xlsx', ['ant', 'bee'], notes)
    sheet = openpyxl.load_workbook(tmp_path / 'b.xlsx').active
    said = [sheet.cell(row, 2).comment.text.split('\n')[1:] for row in range(2, 6)]
    assert said == [['in place of 1'], ['in place of ?'], ['in place of 0'], []]
    assert [sheet.cell(row, 2).value for row in range(2, 6)] == [1] * 4


REFUSED = {
    'a date': ([['image', 'ant'], ['0.jpg', date(2024, 5, 1)]], {}, ["cell B2: '2024-05-01'", '--ignore-columns']),
    'a word': ([['image', None, 'ant'], [], ['0.jpg', None, 'maybe']], {}, ["cell C3: 'maybe'"]),
    'a number': ([['image', 'ant'], ['0.jpg', 0.5]], {}, ["cell B2: '0.5'"]),
    'no label': ([['image', 'ant', 'by'], ['0.jpg', 1, 'me']], {}, ["column 'by', cell C2: 'me'"]),
    'no name': ([['image', 'ant', None], ['0.jpg', 1, 1]], {}, ['names no class in column C']),
    'no image': ([['image', 'ant'], ['0.jpg', 1], [None, 1]], {}, ['row 3', 'the name of the image is blank']),
    'no rows': ([['image', 'ant']], {}, ["sheet 'Labels'", 'no row below', "--sheet names one; there are 'Labels'"]),
    'nothing': ([], {}, ["sheet 'Labels'", 'it is empty']),
    'no such sheet': (
        [['image', 'ant'], ['0.jpg', 1]],
        {'sheet': 'labels'},
        ["no sheet is called 'labels'", "'Labels'"],
    ),
    'an encoding': ([['image', 'ant'], ['0.jpg', 1]], {'encoding': 'utf-8'}, ['--encoding', 'Leave it out']),
    'lists': ([['image', 'ant'], ['0.jpg', 1]], {'form': 'lists'}, ['--form lists']),
    'contradiction': ([['image', 'ant'], ['0.jpg', 1], ['0', 0]], {}, ['positive in row 2, negative in row 3']),
}


@pytest.mark.parametrize('suffix', WRITERS)
@pytest.mark.parametrize('name', REFUSED)
def test_what_is_not_understood_is_refused_and_leaves_nothing(convert, tmp_path, name, suffix):
    rows, options, messages = REFUSED[name]
    WRITERS[suffix](tmp_path / f'a{suffix}', rows)
    with pytest.raises(AnnotationError) as error:
        convert(tmp_path / f'a{suffix}', **options)
    for message in messages:
        assert message in str(error.value)
    assert not (tmp_path / 'data').exists()


@pytest.mark.parametrize(
    ('merged', 'message'),
    [
        ('B1:C1', 'B1:C1. The first row that is not blank must name each column in a cell of its own: unmerge'),
        ('A1:A2', 'A1:A2. The first row'),
        ('B3:B4', 'B3:B4. Each image and label needs a cell of its own'),
        ('E1:F2', None),
        ('A9:C9', None),
    ],
)
def test_merged_cells(convert, tmp_path, merged, message):
    book = write_xlsx(tmp_path / 'a.xlsx', wide(random_labels(5))[:5])
    book.active.delete_cols(5, 2)
    book.active.merge_cells(merged)
    book.save(tmp_path / 'a.xlsx')
    if message is None:
        assert open_labels(tmp_path / 'a.xlsx').classes == CLASSES[:3]
    else:
        with pytest.raises(AnnotationError, match=f'merged cells {message}'):
            convert(tmp_path / 'a.xlsx')
        assert not (tmp_path / 'data').exists()


def test_merged_cells_of_a_column_that_is_left_out(convert, tmp_path):
    labels = random_labels(5)
    book = write_xlsx(tmp_path / 'a.xlsx', wide(labels))
    for area in ('D3:D5', 'D6:D7'):
        book.active.merge_cells(area)
    book.save(tmp_path / 'a.xlsx')
    found = labels_in(convert(tmp_path / 'a.xlsx', ignore_columns=[CLASSES[2]]))
    for name, row in zip(NAMES, np.delete(labels, 2, 1), strict=True):
        assert found[name].tolist() == row.tolist()
    with pytest.raises(AnnotationError, match=r'merged cells D3:D5, D6:D7\. Each .* or leave out .*--ignore-columns'):
        convert(tmp_path / 'a.xlsx', ignore_columns=[CLASSES[1]])
    book.active.merge_cells('C9:D9')
    book.save(tmp_path / 'a.xlsx')
    with pytest.raises(AnnotationError, match=r'merged cells C9:D9\. Each'):
        convert(tmp_path / 'a.xlsx', ignore_columns=[CLASSES[2]])


def test_merged_cells_of_opendocument(tmp_path):
    document = opendocument.OpenDocumentSpreadsheet()
    sheet = table.Table(name='One')
    row = table.TableRow()
    row.addElement(ods_cell('image'))
    wide_cell = ods_cell('animals')
    wide_cell.setAttribute('numbercolumnsspanned', 2)
    row.addElement(wide_cell)
    row.addElement(table.CoveredTableCell())
    sheet.addElement(row)
    document.spreadsheet.addElement(sheet)
    document.write(tmp_path / 'a.ods')
    with pytest.raises(AnnotationError, match=r'merged cells B1:C1\. The first row'):
        open_labels(tmp_path / 'a.ods')


@pytest.mark.parametrize('suffix', WRITERS)
def test_a_sheet_by_name_and_a_table_that_stands_apart(tmp_path, suffix):
    rows = [
        [],
        [],
        [None, None, 'image', None, 'ant'],
        [None, None, '0.jpg', None, 1.0],
        [],
        [None, None, '1', None, 0],
    ]
    WRITERS[suffix](tmp_path / f'a{suffix}', rows, title='Mine')
    labels = open_labels(tmp_path / f'a{suffix}', sheet='Mine')
    found = merge(labels, {'0.jpg': '0.jpg', '1': '1.jpg'}.get)
    assert {name: codes.tolist() for name, codes in found.labels.items()} == {'0.jpg': [1], '1.jpg': [0]}
    assert labels.settings()['sheet'] == 'Mine' and [labels.place(line) for line, *_ in labels.statements()] == [
        'row 4',
        'row 6',
    ]


def two_sheets_and_a_hidden_one(path):
    """``Old``, which is hidden, ``May`` with two hidden rows of five, ``June``, and a blank one."""
    sheets = {'Old': ['0.jpg'], 'May': NAMES[:5], 'June': NAMES[5:], 'Blank': []}
    tables = {
        title: [['image', 'ant'], *([name, 1] for name in names)] * bool(names) for title, names in sheets.items()
    }
    if path.suffix == '.xlsx':
        book = openpyxl.Workbook()
        book.remove(book.active)
        for title, rows in tables.items():
            sheet = book.create_sheet(title)
            for row in rows:
                sheet.append(row)
        book['Old'].sheet_state = 'hidden'
        for row in (3, 5, 9):  # the last is below the table
            book['May'].row_dimensions[row].hidden = True
        book.active = 2
        book.save(path)
        return
    document = opendocument.OpenDocumentSpreadsheet()
    for name, display in (('shown', 'true'), ('hidden', 'false')):
        look = style.Style(name=name, family='table')
        look.addElement(style.TableProperties(display=display))
        document.automaticstyles.addElement(look)
    for title, rows in tables.items():
        sheet = table.Table(name=title, stylename='hidden' if title == 'Old' else 'shown')
        for number, row in enumerate([*rows, [None], [None], [None]], 1):
            seen = {'visibility': 'filter'} if title == 'May' and number in (3, 5, 9) else {}
            element = table.TableRow(**seen)
            for value in row:
                element.addElement(ods_cell(value))
            sheet.addElement(element)
        document.spreadsheet.addElement(sheet)
    document.write(path)


@pytest.mark.parametrize('suffix', WRITERS)
def test_what_will_take_much_memory_is_said_at_once(tmp_path, suffix):
    """It is written at the end of a training, and a process that is killed there has trained for nothing."""
    file = tmp_path / f'a{suffix}'
    WRITERS[suffix](file, [['file', 'cat', 'dog'], *([f'{number}.jpg', 'yes', None] for number in range(7))])
    sheet = open_labels(file).sheet
    assert sheet.notes() == []
    most = (2 << 30) / sheet.book.bytes_to_write
    assert most > 20_000 * 80  # images and classes
    sheet.book.bytes_to_write *= most / (7 * 3) * 0.999
    assert sheet.notes() == []
    sheet.book.bytes_to_write *= 2
    (note,) = sheet.notes()
    assert note.startswith('note: it has 21 cells, and to write so many') and 'about 4 GB of memory' in note
    assert 'Save the sheet as .csv first' in note


@pytest.mark.parametrize('suffix', WRITERS)
def test_what_is_not_read_or_not_shown_is_said(tmp_path, suffix, capsys):
    file = tmp_path / f'a{suffix}'
    two_sheets_and_a_hidden_one(file)
    labels = open_labels(file)
    assert labels.settings()['sheet'] == 'May'
    assert [image for _, image, *_ in labels.statements()] == [*NAMES[:5]]
    only, hidden = labels.sheet.notes()
    assert only.startswith("note: only the sheet 'May' is read, not 'June'; --sheet names another")
    assert hidden.startswith('note: 2 of its rows are hidden')
    assert len(open_labels(file, sheet='May').sheet.notes()) == 1  # a person chose it
    assert open_labels(file, sheet='Old').settings()['sheet'] == 'Old'
    images = tmp_path / 'images'
    images.mkdir()
    for name in NAMES:
        (images / name).write_bytes(b'')
    convert_csv_labels(file, images, tmp_path / 'out', **OPTIONS)
    assert {only, hidden} <= {*capsys.readouterr().out.splitlines()}


def test_a_sheet_of_a_file_without_sheets(tmp_path):
    (tmp_path / 'a.csv').write_text('image,ant\n0.jpg,1\n')
    with pytest.raises(AnnotationError, match='--sheet names a sheet of a workbook'):
        open_labels(tmp_path / 'a.csv', sheet='One')


def test_a_workbook_is_known_by_what_is_in_it(tmp_path):
    write_xlsx(tmp_path / 'a.csv', wide(random_labels(6)))
    assert open_labels(tmp_path / 'a.csv').classes == CLASSES
    with zipfile.ZipFile(tmp_path / 'b.xlsx', 'w') as archive:
        archive.writestr('word/document.xml', '')
    with pytest.raises(AnnotationError, match=r'no \.xlsx and no \.ods workbook'):
        open_labels(tmp_path / 'b.xlsx')
    with zipfile.ZipFile(tmp_path / 'c.xlsx', 'w') as archive:
        archive.writestr('xl/workbook.xml', '<nothing/>')
    with pytest.raises(AnnotationError, match=r'c\.xlsx: this workbook can not be read'):
        open_labels(tmp_path / 'c.xlsx')


def test_a_missing_package_is_answered_with_the_line_for_pip(tmp_path, monkeypatch):
    write_xlsx(tmp_path / 'a.xlsx', wide(random_labels(6)))
    monkeypatch.setitem(__import__('sys').modules, 'openpyxl', None)
    with pytest.raises(AnnotationError, match=r"pip install 'sarlp\[spreadsheets\]'"):
        open_labels(tmp_path / 'a.xlsx')


def test_what_openpyxl_leaves_out_is_told(convert, rich, tmp_path):
    content = io.BytesIO(rich.read_bytes())
    with zipfile.ZipFile(content, 'a') as archive:
        archive.writestr('xl/slicers/slicer1.xml', '<slicers/>')
    rich.write_bytes(content.getvalue())
    root = convert(rich, ignore_columns=['note', 'sum'])
    with pytest.warns(UserWarning, match=r'left out of the copy that is written: slicers \(1\)'):
        write_labels_like_source({'1.jpg': np.array([0, 1])}, root, tmp_path / 'out.xlsx', ('ant', 'bee'))


def test_letters_of_columns():
    assert [column_letters(number) for number in (1, 26, 27, 52, 702, 703)] == ['A', 'Z', 'AA', 'AZ', 'ZZ', 'AAA']
