"""What people give for a file of labels that is none, or the export of a tool that is not read: how to get there."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from sarlp.apps.spreadsheets.label_files.text import decode
from sarlp.datasets.annotation import AnnotationError
from sarlp.io.image_files import is_image

_HEAD = 1 << 16  # bytes that are looked at
_TABLE = 'write a table with columns image and class, a row a name, or with a column a class'
_LOAD = (
    "python -c 'import json, sys; [print(json.dumps({what})) for {row} in json.load(sys.stdin){of}]' < {name} > {to}"
)
_LINES = _LOAD.replace('{what}', 'row').replace('{row}', 'row').replace('{of}', '')
_ITEMS = _LOAD.replace('{what}', 'dict(image=image, tags=names)').replace('{row}', 'image, names')
_SIDECARS = r"exiftool -csv -r -ext xmp -Subject . | sed 's/\.xmp,/,/' > labels.csv"
# what the beginning of a text has, all of it; what is in none; what that is, and what to do. The first that fits counts
_TEXTS: tuple[tuple[tuple[str, ...], tuple[str, ...], str, str], ...] = (
    ((r'\A\s*(?i:<(!doctype )?html)',), (), 'a web page', 'open it in Excel or LibreOffice, and save it as .xlsx'),
    (('<x:xmpmeta|<rdf:RDF',), (), 'a sidecar of one photograph', f'in the folder of the photographs: {_SIDECARS}'),
    (
        ('<annotation>', '<(filename|object)>'),
        (),
        'the annotation of one image in the layout of VOC',
        f'{_TABLE}; sarlp convert voc2007 reads a whole data set in that layout',
    ),
    ((r'"(_via_img_metadata|file_attributes|region_attributes)"\s*:',), (), 'a project of VIA', _TABLE),
    ((r'"data_row"\s*:', r'"projects"\s*:'), (), 'an export of Labelbox', _TABLE),
    ((r'"External ID"\s*:', r'"Label"\s*:'), (), 'an export of Labelbox', _TABLE),
    (
        (r'\A\s*\[\s*\{\s*"SourceFile"',),
        (),
        'what exiftool writes as JSON',
        'let it write CSV: exiftool -csv -r -Subject . > labels.csv',
    ),
    ((r'\A\s*\{', r'"doc_id"\s*:', 'google'), (), 'a link to a sheet of Google', 'download that sheet as .xlsx'),
    (
        (r'\A\s*\{\s*"[^"]+\.(?i:jpe?g|png|webp|tiff?|bmp)"\s*:\s*\[',),
        (),
        'an object with a list an image',
        f'make a line an image of it: {_ITEMS.replace("{of}", ".items()")}',
    ),
    (
        (r'\A\s*\[\s*\{',),
        (r'"(annotations|predictions|data|lead_time)"\s*:',),  # of Label Studio
        'a list of objects',
        f'make a line an object of it: {_LINES}',
    ),
)
_COLUMNS = (
    (('region_attributes', 'file_attributes'), 'a table of VIA', f'{_TABLE}: its attributes are JSON in cells'),
    (('External ID', 'Label'), 'a table of Labelbox', f'{_TABLE}: its labels are JSON in cells'),
)


def refuse_no_file(path: Path) -> None:
    """Refuse a folder, or an image.

    Raises:
        AnnotationError: it is that.
    """
    if path.is_dir():
        raise AnnotationError(
            f'{path}: this is a folder. Expected a file of labels, and the folder of the images behind it. If its '
            'folders are named by what is in them, docs/your_data.md has the lines that write such a file.'
        )
    if is_image(path.name) and path.is_file():
        raise AnnotationError(f'{path}: this is an image. Expected a file of labels, and the folder of the images.')


def refuse_stranger(path: Path, encoding: str | None) -> None:
    """Refuse a text that is something else, by how it begins.

    Raises:
        AnnotationError: it is that.
    """
    with open(path, 'rb') as file:
        data = file.read(_HEAD)
    try:
        text = decode(data, path, encoding)[0]
    except AnnotationError:  # of which reading will tell, or a letter that is cut in two
        text = data.decode('utf-8', 'ignore')
    if text.lstrip()[:1] not in ('<', '{', '['):
        return
    for has, has_not, what, advice in _TEXTS:
        if all(re.search(one, text) for one in has) and not any(re.search(one, text) for one in has_not):
            told = advice.replace('{name}', shlex.quote(path.name)).replace('{to}', shlex.quote(f'{path.stem}.jsonl'))
            raise AnnotationError(f'{path}: this is {what}, which is not read. Instead {told}')


def refuse_columns(path: str | os.PathLike, header: Sequence[str]) -> None:
    """Refuse the table of a tool whose labels are not in its cells as such.

    Raises:
        AnnotationError: it is that.
    """
    for columns, what, advice in _COLUMNS:
        if {*columns} <= {*header}:
            raise AnnotationError(f'{path}: this is {what}, which is not read. Instead {advice}')
