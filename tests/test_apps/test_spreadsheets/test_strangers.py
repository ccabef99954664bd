"""What is no file of labels, or the export of a tool that is not read, is told how to get there."""

import json
import re
import subprocess
import sys

import pytest

from sarlp.apps.spreadsheets.label_files import open_labels
from sarlp.datasets.annotation import AnnotationError

_VIA = {'filename': '1.jpg', 'size': 7, 'regions': [], 'file_attributes': {'cat': 'yes'}}
_LABELBOX = {'data_row': {'id': 'x', 'external_id': '1.jpg'}, 'projects': {'p': {'labels': []}}}
_OLD_LABELBOX = [{'External ID': '1.jpg', 'Label': {'classifications': []}}]
STRANGERS = {
    'via.json': (json.dumps({'_via_settings': {}, '_via_img_metadata': {'1.jpg7': _VIA}}), 'a project of VIA'),
    'via_only.json': (json.dumps({'1.jpg7': _VIA}, indent=1), 'a project of VIA'),
    'via.csv': ('filename,file_attributes,region_attributes\n1.jpg,"{}","{}"\n', 'a table of VIA'),
    'labelbox.ndjson': (json.dumps(_LABELBOX) + '\n' + json.dumps(_LABELBOX), 'an export of Labelbox'),
    'labelbox.json': (json.dumps(_OLD_LABELBOX), 'an export of Labelbox'),
    'labelbox.csv': ('External ID,Label\n1.jpg,"{}"\n', 'a table of Labelbox'),
    'exif.json': (json.dumps([{'SourceFile': './1.jpg', 'Subject': ['cat']}]), 'what exiftool writes as JSON'),
    '1.xmp': ("<?xpacket begin=''?>\n<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>", 'a sidecar of one photograph'),
    '1.xml': ('<annotation>\n<filename>1.jpg</filename>\n</annotation>', 'one image in the layout of VOC'),
    'old.xls': ('<html><table><tr><td>image</td></tr></table></html>', 'a web page'),
    'l.gsheet': ('{"url":"https://docs.google.com/open?id=1","doc_id":"1"}', 'a link to a sheet of Google'),
}


@pytest.mark.parametrize('name', STRANGERS)
def test_it_is_told(tmp_path, name):
    content, what = STRANGERS[name]
    (tmp_path / name).write_text(content, 'utf-8')
    with pytest.raises(AnnotationError, match=f'this is .*{what}.*, which is not read. Instead '):
        open_labels(tmp_path / name)


def test_no_file(tmp_path):
    (tmp_path / '1.jpg').touch()
    with pytest.raises(AnnotationError, match='this is an image. Expected a file of labels, and the folder'):
        open_labels(tmp_path / '1.jpg')
    with pytest.raises(AnnotationError, match='this is a folder. Expected a file of labels, and the folder'):
        open_labels(tmp_path)


@pytest.mark.parametrize(
    'content',
    [[{'image': '1.jpg', 'cat': 1}, {'image': '2.jpg', 'cat': 0}], {'1.jpg': ['cat'], '2.jpg': ['dog', 'cat']}],
)
@pytest.mark.parametrize('indent', [None, 2])
def test_what_it_says_to_do_about_json(tmp_path, content, indent):
    file = tmp_path / 'my labels.json'
    file.write_text(json.dumps(content, indent=indent))
    with pytest.raises(AnnotationError) as error:
        open_labels(file)
    command = re.search('python (-c .*)', str(error.value))[1]
    subprocess.run(f'{sys.executable} {command}', shell=True, check=True, cwd=tmp_path)
    found = [(name, sorted(pairs)) for _, name, pairs in open_labels(tmp_path / 'my labels.jsonl').statements()]
    if isinstance(content, list):
        assert found == [('1.jpg', [(0, 1)]), ('2.jpg', [(0, 0)])]
    else:
        assert found == [('1.jpg', [(0, 1)]), ('2.jpg', [(0, 1), (1, 1)])]
