"""Nothing of a person's is replaced: every tool whose output may have the name of something that is there."""

import shutil

import cv2
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from sarlp.apps.completion import complete_labels
from sarlp.apps.dataset_report import write_dataset_report
from sarlp.apps.spreadsheets.csv_labels import convert_csv_labels
from sarlp.apps.sweep_results import METRICS, Row
from sarlp.apps.sweep_tables import write_results
from sarlp.datasets.annotation import dump_annotation, load_annotation
from sarlp.datasets.label_masks import save_label_mask
from sarlp.errors import UserError
from sarlp.evaluation.report import check_results, write_metrics_json, write_predictions_csv
from sarlp.io.embeddings import save_embeddings
from sarlp.io.image_files import ImageFile, figure_of, find_images
from sarlp.io.outputs import check_output, has_keys, is_table
from sarlp.visualization.figure_files import FigureFiles

from .place import CLASSES

NOT_OURS = 'no earlier output of the same kind'


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob('*') if path.is_file()}


class TestFigures:
    """tools/visualize_cam.py and predict.py --annotated."""

    @pytest.fixture(params=['visualize', 'annotate'])
    def draw(self, place, request):
        config, checkpoint = place.config(), place.checkpoint()

        def draw(out, *images):
            if request.param == 'annotate':
                arguments = (*images, '--out', place.root / 'p.csv', '--annotated', out)
                place.run('predict.py', config, checkpoint, *arguments)
            else:
                (images,) = images
                place.run('visualize_cam.py', config, checkpoint, '--img', images, '--out-dir', out)

        return draw

    @pytest.fixture
    def photos(self, place):
        """Six photographs, whose stems are three."""
        root = place.root / 'photos'
        names = ('cam1/IMG_1.png', 'cam2/IMG_1.png', 'a.png', 'a.bmp', 'A.bmp', 'a.png.png')
        for number, name in enumerate(names):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            image = np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)
            cv2.imwrite(str(root / name), image)
        return root

    def test_each_image_has_its_own(self, place, photos, draw, capsys):
        out = place.root / 'figures'
        draw(out, photos)
        found = {path.relative_to(out).as_posix() for path in out.rglob('*') if path.is_file()}
        assert found == {
            *('cam1/IMG_1.png.png', 'cam2/IMG_1.png.png', 'A.bmp.png', 'a.2.bmp.png', 'a.png.png', 'a.png.png.png')
        }
        before = contents(photos)
        draw(out, photos)  # again: the same figures
        assert contents(photos) == before
        assert {path.relative_to(out).as_posix() for path in out.rglob('*') if path.is_file()} == found

    def test_other_photographs_of_the_same_names(self, place, photos, draw, capsys):
        out = place.root / 'figures'
        draw(out, photos / 'cam1')
        before = contents(out)
        with pytest.raises(SystemExit):
            draw(out, photos / 'cam2')
        assert 'IMG_1.png.png. Nothing was written; choose another folder' in capsys.readouterr().err
        assert contents(out) == before

    def test_the_folder_of_the_photographs(self, place, photos, draw, capsys):
        before = contents(photos)
        with pytest.raises(SystemExit):  # since a.png.png is a photograph
            draw(photos, photos)
        assert '1 files are no earlier figures of the same images, and' in capsys.readouterr().err
        assert contents(photos) == before
        (photos / 'a.png.png').unlink()
        for _ in range(2):  # figures that lie there are no photographs
            (place.root / 'p.csv').unlink(missing_ok=True)
            if 'A.bmp.png' in contents(photos):
                with pytest.warns(UserWarning, match='5 left out, figures that sarlp drew'):
                    draw(photos, photos)
            else:
                draw(photos, photos)
            after = contents(photos)
            assert len(after) == 10
            assert all(after[name] == content for name, content in before.items() if name != 'a.png.png')

    def test_nothing_is_drawn_where_one_can_not_be(self, place, photos, draw, capsys):
        out = place.root / 'figures'
        (out / 'cam2').mkdir(parents=True)
        (out / 'cam2' / 'IMG_1.png.png').write_text('mine')
        with pytest.raises(SystemExit):
            draw(out, photos)
        assert contents(out) == {'cam2/IMG_1.png.png': b'mine'}
        assert not (place.root / 'p.csv').exists()

    def test_subfolders_and_splits(self, place, capsys):
        out = place.root / 'figures'
        arguments = ('visualize_cam.py', place.config(), place.checkpoint(), '--out-dir', out)
        place.run(*arguments, '--split', 'test', '--max-images', '2')
        assert sorted(contents(out)) == ['0.png.png', '1.png.png']
        with pytest.warns(UserWarning, match='2 left out, figures that sarlp drew'):
            place.run(*arguments, '--img', place.root)  # the same images, by another way
        assert sorted(contents(out)) == [f'{number}.png.png' for number in range(4)]
        assert capsys.readouterr().out.splitlines()[-1] == f'4 figures in {out}'

    @pytest.mark.parametrize(
        ('option', 'message'),
        [
            (('--threshold', '50'), 'threshold must be a number from 0 to 1, got 50.0'),
            (('--max-images', '-2'), '--max-images must be at least 1, got -2'),
        ],
    )
    def test_options_by_which_nothing_would_be_drawn(self, place, capsys, option, message):
        with pytest.raises(SystemExit):
            place.run(
                'visualize_cam.py',
                place.config(),
                place.checkpoint(),
                '--img',
                place.root,
                '--out-dir',
                place.out,
                *option,
            )
        assert message in capsys.readouterr().err

    def test_names_that_lead_out(self, tmp_path):
        for name in ('x/a.png', 'x/y/a.png', 'a.png'):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
        names = ('../a.png', 'a.png', './a.png', '../../a.png')
        paths = ('x/a.png', 'x/y/a.png', 'x/y/a.png', 'a.png')
        images = [ImageFile(name, str(tmp_path / path)) for name, path in zip(names, paths, strict=True)]
        figures = FigureFiles(tmp_path / 'out', images)
        found = [figures._paths[name].name for name in names]
        assert found == ['a.png.png', 'a.2.png.png', 'a.2.png.png', 'a.3.png.png']

    def test_figures_tell_no_path(self, place, photos, draw):
        out = place.root / 'figures'
        draw(out, photos / 'a.png')
        (figure,) = (path for path in out.rglob('*') if path.is_file())
        assert len(figure_of(figure)) == 16
        assert str(place.root).encode() not in figure.read_bytes()
        assert figure_of(photos / 'a.png') is None

    def test_a_figure_that_is_an_input(self, tmp_path):
        photo = tmp_path / 'a.png'
        cv2.imwrite(str(photo), np.zeros((8, 8, 3), np.uint8))
        figure = FigureFiles(tmp_path, find_images(photo)).save(Figure(), ImageFile(str(photo), str(photo)))
        with pytest.raises(UserError, match='1 files are no earlier figures'):
            FigureFiles(tmp_path, find_images([photo, figure]))


class TestPredictions:
    @pytest.mark.parametrize('suffix', ['csv', 'json', 'jsonl'])
    def test_again_and_never_over_others(self, place, capsys, suffix):
        out = place.root / f'labels.{suffix}'
        arguments = ('predict.py', place.config(), place.checkpoint(), place.root / '0.png', '--out', out)
        for content in ('image,cat,dog\n0.png,1,0\n', '{"images": []}', 'image,classes,split\n0.png,cat,train\n'):
            out.write_text(content)
            with pytest.raises(SystemExit):
                place.run(*arguments)
            assert f'{out}: there is a file of this name that is {NOT_OURS}' in capsys.readouterr().err
            assert out.read_text() == content
        out.write_text('')  # nothing is lost
        for _ in range(2):
            place.run(*arguments)
        assert '0.png' in out.read_text()


class TestCompletion:
    """``recovered.csv``, and what goes beside it under its stem."""

    @pytest.fixture
    def data(self, place):
        """Annotation files in a folder of their own; some labels are unknown."""
        (place.root / 'labels').mkdir()
        for entry in place.entries:
            entry['negative'] = [(entry['positive'][0] + 1) % 3]
        dump_annotation(place.root / 'labels' / 'train.json', CLASSES, place.entries)
        return {f'{part}_dataloader.dataset.ann_file': 'labels/train.json' for part in ('train', 'val', 'test')}

    @pytest.mark.parametrize('name', ['labels/train.csv', 'mine.csv'])
    def test_before_anything_takes_time(self, place, data, name):
        if name == 'mine.csv':
            (place.root / name).write_text('image,cat\n0.png,1\n')
        before = contents(place.root)
        with pytest.raises(UserError) as error:  # the checkpoint is not even there
            complete_labels(place.config(), 'gone.pth', place.root / name, cfg_options=data, device='cpu')
        if name == 'mine.csv':
            assert NOT_OURS in str(error.value)
        else:  # the record would go to labels/train.json
            assert str(error.value).startswith(f'{place.root}/labels/train.json: this file is read here')
        assert {**contents(place.root), 'config.py': b''} == {**before, 'config.py': b''}

    def test_the_labels_that_are_completed(self, place, data):
        """A second round, on the files of the first."""
        shutil.move(place.root / 'labels', place.root / 'recovered_labels')
        options = {key: 'recovered_labels/train.json' for key in data}
        with pytest.raises(UserError, match=r'recovered_labels/train\.json: this file is read here'):
            complete_labels(place.config(), 'gone.pth', place.root / 'recovered.csv', cfg_options=options, device='cpu')
        assert load_annotation(place.root / 'recovered_labels' / 'train.json')[1]


def test_csv_labels_keeps_what_is_in_the_folder(place):
    (place.root / 'mine.csv').write_text('image,cat,dog\n0.png,1,0\n1.png,0,1\n2.png,1,0\n3.png,,1\n')
    labels = place.root / 'data' / 'labels'
    labels.mkdir(parents=True)
    for name in ('source.csv', 'trainval.json'):
        (labels / name).write_text('{"images": []}')
        with pytest.raises(UserError, match=f'{name}: there is a file of this name'):
            convert_csv_labels(place.root / 'mine.csv', place.root, place.root / 'data', 0.5)
        assert (labels / name).read_text() == '{"images": []}'
        (labels / name).unlink()
        for path in labels.iterdir():
            path.unlink()
    for _ in range(2):
        convert_csv_labels(place.root / 'mine.csv', place.root, place.root / 'data', 0.5)


MASK = ['0.png'], CLASSES, np.ones((1, 3), bool)
VECTORS = np.ones((3, 4)), CLASSES, 'random', 'seed 0'
WRITERS = {
    'mask.npz': lambda path: save_label_mask(path, *MASK),
    'vectors.npz': lambda path: save_embeddings(path, *VECTORS),
    'annotation.json': lambda path: dump_annotation(
        path, CLASSES, [{'img_path': 'a', 'positive': [0], 'negative': 'rest'}]
    ),
    'table.md': lambda path: write_results({('a', 0.1): _row()}, str(path)[: -len('.md')]),
    'table.csv': lambda path: write_results({('a', 0.1): _row()}, str(path)[: -len('.csv')]),
    'table.png': lambda path: write_results({('a', 0.1): _row()}, str(path)[: -len('.png')]),
}


def _row():
    return Row([(0, 0)], {metric: [1.0] for metric in METRICS})


@pytest.mark.parametrize('name', WRITERS)
def test_each_file_replaces_its_own_kind_only(tmp_path, name):
    path = tmp_path / name
    for other in (b'mine', b'{"a": 1}'):
        path.write_bytes(other)
        with pytest.raises(UserError, match=NOT_OURS):
            WRITERS[name](path)
        assert contents(tmp_path) == {name: other}
    path.unlink()
    WRITERS[name](path)
    WRITERS[name](path)


def test_a_mask_is_not_written_over_vectors(tmp_path):
    save_embeddings(tmp_path / 'a.npz', *VECTORS)
    with pytest.raises(UserError, match=NOT_OURS):
        save_label_mask(tmp_path / 'a.npz', *MASK)
    save_label_mask(tmp_path / 'b.npz', *MASK)
    with pytest.raises(UserError, match=NOT_OURS):
        save_embeddings(tmp_path / 'b.npz', *VECTORS)


def test_dataset_report(place):
    (place.root / 'known.png').write_bytes(b'a photograph')
    with pytest.raises(UserError, match=r'known\.png: there is a file'):
        write_dataset_report([place.ann_file], place.root)
    assert not (place.root / 'classes.png').exists()
    for _ in range(2):
        write_dataset_report([place.ann_file], place.root / 'report')


def test_results_of_a_test(tmp_path):
    (tmp_path / 'predictions.csv').write_text('image,cat\n0.png,1\n')  # labels of a person, by chance of that form
    with pytest.raises(UserError, match=r'predictions\.csv'):
        check_results(tmp_path)
    write_metrics_json(tmp_path / 'metrics.json', {'mAP': 1.0}, {'cat': 1.0}, {'units': 'percent'})
    write_predictions_csv(tmp_path / 'predictions.csv', ['0.png'], ['cat'], np.ones((1, 1)))
    check_results(tmp_path)
    (tmp_path / 'metrics.json').write_text('{"accuracy": 1}')
    with pytest.raises(UserError, match=r'metrics\.json'):
        check_results(tmp_path)


@pytest.mark.parametrize('tool', ['released', 'onnx', 'report'])
def test_checkpoints_and_pages(place, capsys, tool):
    config, checkpoint = place.config(), place.checkpoint()
    if tool == 'onnx':
        pytest.importorskip('onnxscript')
        runs = {checkpoint: ('export_onnx.py', config, checkpoint, '--out', checkpoint)}
    elif tool == 'released':
        torch.save({'a': torch.ones(1)}, place.root / 'r')
        run = ('model_converters/clsl_to_sarlp.py', place.root / 'r')
        more = ('--config', config, '--classes', place.ann_file)
        runs = {place.root / 'r': (*run, place.root / 'r', *more), checkpoint: (*run, checkpoint, *more)}
    else:
        runs = {config: ('analysis_tools/report.py', place.root, '--out', config)}
    for path, arguments in runs.items():
        before = path.read_bytes()
        with pytest.raises(SystemExit):
            place.run(*arguments)
        message = capsys.readouterr().err
        assert f'error: {path}: this file is read here' in message or NOT_OURS in message
        assert path.read_bytes() == before


def test_the_same_file_by_another_name(tmp_path):
    (tmp_path / 'a.csv').write_text('image,class\n')
    (tmp_path / 'b.csv').symlink_to(tmp_path / 'a.csv')
    own = is_table(['image', 'class'])
    check_output(tmp_path / 'b.csv', [], own)
    with pytest.raises(UserError, match='is read here'):
        check_output(tmp_path / 'b.csv', [tmp_path / 'gone', tmp_path / 'a.csv'], own)
    check_output(tmp_path / 'new', [tmp_path / 'a.csv'], own)
    with pytest.raises(UserError, match='this is a folder'):
        check_output(tmp_path, [], own)


@pytest.mark.parametrize('content', [b'', b'\xff\xfe', b'[]', b'nul\0', b'"a', b'x' * 200_000, b'{"a": 1}'])
def test_odd_files_are_not_ours(tmp_path, content):
    (tmp_path / 'a').write_bytes(content)
    assert not is_table(['image'])(tmp_path / 'a')
    assert not has_keys('a', 'b')(tmp_path / 'a')
    assert not has_keys('a', 'b', lines=True)(tmp_path / 'a')
