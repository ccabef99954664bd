"""The tools as their user calls them, on the built-in scenes. Each process costs seconds to import: few are started."""

import csv
import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from PIL import Image

from sarlp.engine import build_runner, find_checkpoint, load_config, read_checkpoint
from sarlp.engine.testing import test as run_test
from sarlp.errors import UserError
from sarlp.inference import Predictor, init_model
from sarlp.registry import DATASETS

from .conftest import reduced

MAIN_METRICS = ('CP', 'CR', 'CF1', 'OP', 'OR', 'OF1')


def run(*command, env=None, check=True):
    """Runs a tool in a process of its own; its output shows in the message of a failure."""
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=400, env=env)
    if check and result.returncode:
        pytest.fail(f'{command} ended with {result.returncode}\n{result.stdout[-4000:]}\n{result.stderr[-8000:]}')
    return result


def read_csv(path):
    with open(path, newline='') as stream:
        return list(csv.reader(stream))


def options_of(cfg_options):
    return ['--cfg-options', *(f'{key}={value}' for key, value in cfg_options.items())]


@pytest.fixture(scope='session')
def trained(repository, digits, tmp_path_factory):
    """Work directory and output of ``tools/train.py``: two epochs of the digits config."""
    work_dir = tmp_path_factory.mktemp('train') / 'work'
    result = run(
        *(sys.executable, repository / 'tools' / 'train.py', 'sarlp_r18_digits_p0.1', '--work-dir', work_dir),
        *options_of(reduced(digits)),
    )
    return work_dir, result


@pytest.fixture(scope='session')
def work(trained):
    return trained[0]


@pytest.fixture(scope='session')
def trained_config(digits):
    return load_config('sarlp_r18_digits_p0.1', reduced(digits))


@pytest.fixture(scope='session')
def tested(repository, work, digits, tmp_path_factory):
    """What ``tools/test.py --out`` writes, and its output."""
    out = tmp_path_factory.mktemp('test') / 'out'
    tool = repository / 'tools' / 'test.py'
    result = run(
        *(sys.executable, tool, 'sarlp_r18_digits_p0.1', work, '--out', out, '--work-dir', out / 'log'),
        *options_of(reduced(digits)),
    )
    return out, result


def same_values(one, other, path=''):
    """Equal to the last bit, wherever in dicts, lists and tensors."""
    assert type(one) is type(other), path
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            same_values(one[key], other[key], f'{path}/{key}')
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for index, pair in enumerate(zip(one, other, strict=True)):
            same_values(*pair, f'{path}/{index}')
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    else:
        assert one == other, path


class TestTraining:
    def test_files(self, work):
        names = {path.name for path in work.iterdir()}
        assert {'sarlp_r18_digits_p0.1.py', 'last_checkpoint', 'epoch_2.pth'} <= names
        assert sum(name.startswith('best_mAP_epoch_') for name in names) == 1
        assert (work / 'last_checkpoint').read_text() == str(work / 'epoch_2.pth')
        (scalars,) = work.glob('*/vis_data/scalars.json')
        lines = [json.loads(line) for line in scalars.read_text().splitlines()]
        maps = {line['step']: line['mAP'] for line in lines if 'mAP' in line}
        assert set(maps) == {1, 2}
        best = max(maps, key=maps.get)
        assert find_checkpoint(work) == str(work / f'best_mAP_epoch_{best}.pth')

    def test_checkpoint(self, work):
        content = read_checkpoint(work / 'epoch_2.pth')
        assert {'state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers', 'message_hub', 'meta'} <= set(content)
        assert content['meta']['epoch'] == 2
        assert content['meta']['iter'] == 6
        assert len(content['meta']['dataset_meta']['classes']) == 10

    def test_dumped_config_is_whole(self, work):
        cfg = load_config(work / 'sarlp_r18_digits_p0.1.py')
        assert cfg.model.backbone.base_channels == 4
        assert '_base_' not in cfg

    def test_another_process_trains_the_same(self, work, trained_config, tmp_path):
        cfg = trained_config.copy()
        cfg.work_dir = str(tmp_path)
        build_runner(cfg).train()
        here, there = (read_checkpoint(folder / 'epoch_2.pth') for folder in (tmp_path, work))
        for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
            same_values(here[key], there[key], key)

    def test_resumed_run_equals_the_straight_one(self, repository, work, digits, trained_config, tmp_path):
        class Killed(Exception):
            pass

        class Kill(Hook):
            def before_train_epoch(self, runner):
                if runner.epoch == 1:
                    raise Killed

        cfg = trained_config.copy()
        cfg.work_dir = str(tmp_path)
        runner = build_runner(cfg)
        runner.register_hook(Kill(), 'VERY_HIGH')
        with pytest.raises(Killed):
            runner.train()
        assert not (tmp_path / 'epoch_2.pth').exists()
        torch.manual_seed(99)  # the state of a fresh process is another one
        call(
            *(repository / 'tools' / 'train.py', 'sarlp_r18_digits_p0.1', '--work-dir', tmp_path, '--resume'),
            *options_of(reduced(digits)),
        )
        straight, resumed = (read_checkpoint(folder / 'epoch_2.pth') for folder in (work, tmp_path))
        assert resumed['meta']['iter'] == straight['meta']['iter'] == 6
        for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
            same_values(resumed[key], straight[key], key)
        one, other = (content['message_hub']['runtime_info']['best_score'] for content in (straight, resumed))
        assert one == other

    def test_two_processes(self, repository, digits, tmp_path, distributed_env):
        cfg_options = reduced(digits) | {'train_cfg.max_epochs': 1}
        environment = distributed_env()
        del environment['OMP_NUM_THREADS']  # of whose absence torchrun, and each rank, would speak
        result = run(
            *('bash', repository / 'tools' / 'dist_train.sh', 'sarlp_r18_digits_p0.1', 2, '--work-dir', tmp_path),
            *options_of(cfg_options),
            env=environment,
        )
        assert result.stderr == ''
        lines = result.stdout.splitlines()
        assert len(lines) == len(set(lines)) < 12  # one rank speaks
        assert any(line.startswith('device') and line.endswith(', 2 processes') for line in lines)
        whole = load_config(tmp_path / 'sarlp_r18_digits_p0.1.py')  # to go on with in any number of processes
        assert whole.train_dataloader.batch_size == 8
        content = read_checkpoint(tmp_path / 'epoch_1.pth')
        assert content['meta']['iter'] == 3  # 24 images, 8 a step over both
        assert len(list(tmp_path.rglob('events.out*'))) == len(list(tmp_path.rglob('scalars.json'))) == 1
        model = init_model(load_config('sarlp_r18_digits_p0.1', cfg_options), tmp_path / 'epoch_1.pth')
        assert all(torch.isfinite(value).all() for value in model.state_dict().values())


class TestTerminal:
    """What a person sees; ``make demo`` is these tools and three more, which say six lines; five are make's."""

    def test_training(self, trained):
        work, result = trained
        assert result.stderr == ''
        lines = result.stdout.splitlines()
        epochs = [line for line in lines if line.startswith('epoch ')]
        assert len(epochs) == 2
        for number, line in enumerate(epochs, 1):
            assert re.fullmatch(
                rf'epoch {number}/2  loss +\S+  loss_known +\S+  loss_recovery +\S+  lr \d\.\de-\d\d  '
                r'\d:\d\d:\d\d left  mAP \d+\.\d\d(  \(best so far\))?',
                line,
            )
        assert epochs[0].endswith('(best so far)') and ' 0:00:00 left' in epochs[1]
        others = [line for line in lines if line not in epochs]
        assert len(others) <= 10
        assert others[0].startswith('24 training images, 10 classes, ')
        assert not re.search('mmengine|INFO|Config|Hooks|FileClient|HardDiskBackend|Saving', result.stdout)
        named = {line.split()[0]: line.split(maxsplit=1)[1] for line in others}
        parameters = sum(parameter.numel() for parameter in init_model(*self.model(work)).parameters())
        assert f', {parameters:,} parameters, all trained' in named['model']
        assert named['device'].startswith('cuda' if torch.cuda.is_available() else 'cpu')
        assert named['training'] == (
            '2 epochs of 3 steps of 8 images; validation on 11 images; the loss is a sum over each batch, so large'
        )
        assert named['finished'].endswith(find_checkpoint(work))

    @staticmethod
    def model(work):
        return work / 'sarlp_r18_digits_p0.1.py', find_checkpoint(work)

    def test_all_of_it_is_in_the_log_file(self, trained):
        work, result = trained
        log = re.search(r'^log +(\S+\.log),', result.stdout, re.MULTILINE)[1]
        text = Path(log).read_text()
        for part in ('System environment:', 'seed: 0', 'Config:\n', "type='SARLPHead'", 'Hooks will be executed'):
            assert part in text
        assert text.count('Epoch(train) ') == text.count('Epoch(val) ') == 2 and 'CF1_top3: ' in text
        assert '24 training images, 10 classes, ' in text and 'Saving checkpoint at 2 epochs' in text
        assert 'best so far' not in text  # said once, in MMEngine's words

    def test_the_next_command_is_right(self, trained, tested):
        """It tests the same, with the config that lies there; ``tested`` took the one that came with sarlp."""
        words = shlex.split(re.search(r'^next +(.*)', trained[1].stdout, re.MULTILINE)[1])
        assert words[:2] == ['sarlp', 'test'] and words[4] == '--out'
        config, checkpoint = words[2:4]
        cfg = load_config(config)
        metrics = run_test(cfg, find_checkpoint(checkpoint), launcher='none')
        assert metrics['mAP'] == json.loads((tested[0] / 'metrics.json').read_text())['mAP']
        assert load_config(config).train_dataloader is not None  # the test left the config as it was

    def test_testing(self, trained, tested):
        out, result = tested
        assert result.stderr == ''
        lines = result.stdout.splitlines()
        assert len(lines) <= 21
        assert lines[0].startswith(
            f'testing {find_checkpoint(trained[0])} on 11 images, then the labels hidden in training; '
        )
        assert lines[-1] == f'written to {out}: metrics.json, predictions.csv, recovered_labels.csv'
        assert not re.search('mmengine|INFO|Config|Hooks|Epoch', result.stdout)
        training = [line for line in trained[1].stdout.splitlines() if not line.startswith('epoch ')]
        assert len(training) + len(lines) + 11 < 40
        (log,) = (out / 'log').glob('*/*.log')
        assert 'Config:\n' in log.read_text() and log.read_text().count('Epoch(test)') == 2


class TestInference:
    def test_scores_equal_those_of_the_tool(self, work, tested, digits, trained_config):
        model = init_model(trained_config.copy(), find_checkpoint(work))
        predictor = Predictor(model)
        header, *rows = read_csv(tested[0] / 'predictions.csv')
        assert header == ['image', *model.classes]
        assert len(rows) == 11
        for image_id, *scores in rows:
            outputs = predictor(digits / image_id)
            assert outputs['scores'].tolist() == pytest.approx([float(score) for score in scores], rel=1e-4, abs=1e-6)
            assert outputs['token_scores'].shape == (36, 10)
            assert outputs['grid'] == (6, 6)

    def test_weights_are_the_averaged_ones(self, work, trained_config):
        path = find_checkpoint(work)
        content = read_checkpoint(path)
        model = init_model(trained_config.copy(), path)
        assert not model.training
        same_values(dict(model.state_dict()), dict(content['state_dict']))
        assert model.classes == tuple(content['meta']['dataset_meta']['classes'])

    def test_checkpoint_without_classes(self, work, trained_config, tmp_path):
        content = read_checkpoint(find_checkpoint(work))
        torch.save({'state_dict': content['state_dict']}, tmp_path / 'bare.pth')
        with pytest.raises(UserError, match=r'bare\.pth: names no classes \(meta\.dataset_meta\.classes\)'):
            init_model(trained_config.copy(), tmp_path / 'bare.pth')


class TestTesting:
    def test_metrics(self, tested, work):
        out, printed = tested[0], tested[1].stdout
        metrics = json.loads((out / 'metrics.json').read_text())
        expected = {'mAP', 'mAP_plain', 'AP', 'protocol', 'recovery', *MAIN_METRICS}
        assert expected | {f'{name}_top3' for name in MAIN_METRICS} <= set(metrics)
        names = read_checkpoint(find_checkpoint(work))['meta']['dataset_meta']['classes']
        assert set(metrics['AP']) == set(names)
        defined = [value for value in metrics['AP'].values() if value is not None]
        assert metrics['mAP'] == pytest.approx(np.mean(defined))
        assert {'AP', 'precision', 'recall', 'F1', 'hidden', 'hidden_positive'} <= set(metrics['recovery'])
        protocol = metrics['protocol']
        assert protocol['label_mask'] == {'type': 'RandomKnownLabels', 'known_ratio': 0.5, 'seed': 0}
        assert protocol['checkpoint'] == find_checkpoint(work)
        assert protocol['units'] == 'percent'
        for text in ('mAP', 'CF1', 'top 3', 'recovery of', 'seven'):
            assert text in printed

    def test_what_the_model_was_trained_on_is_no_test(self, work, digits, tmp_path, capsys):
        options = reduced(digits)
        key = 'train_dataloader.dataset.label_mask.known_ratio'
        with pytest.raises(UserError, match=r'another label mask than the config has \(known_ratio 0\.5 -> 0\.25\)'):
            run_test(load_config('sarlp_r18_digits_p0.1', {**options, key: 0.25}), find_checkpoint(work))
        trained = options | {'test_dataloader.dataset.ann_file': 'labels/trainval.json'}
        cfg = load_config('sarlp_r18_digits_p0.1', trained | {'work_dir': str(tmp_path / 'work')})
        number = len(DATASETS.build({**cfg.test_dataloader.dataset, 'pipeline': []}))
        run_test(cfg, find_checkpoint(work), tmp_path / 'out', recovery=False)
        assert f'note: {number} of these images are among those that the model was trained' in capsys.readouterr().out
        protocol = json.loads((tmp_path / 'out' / 'metrics.json').read_text())['protocol']
        assert protocol['test_images_trained_on'] == number > 0

    def test_metrics_equal_those_of_training(self, tested, work):
        content = read_checkpoint(find_checkpoint(work))
        best = content['message_hub']['runtime_info']['best_score']
        assert json.loads((tested[0] / 'metrics.json').read_text())['mAP'] == pytest.approx(float(best), rel=1e-6)

    def test_recovered_labels(self, tested, digits, trained_config):
        header, *rows = read_csv(tested[0] / 'recovered_labels.csv')
        assert header == ['image', 'class', 'probability', 'decision', 'truth']
        dataset = DATASETS.build({**trained_config.train_dataloader.dataset, 'pipeline': []})
        hidden = {}
        for index in range(len(dataset)):
            image, observed, full, _ = dataset.get_labels(index)
            hidden |= {(image, dataset.classes[c]): full[c] for c in range(10) if observed[c] == -1 and full[c] != -1}
        found = {(image, name): truth for image, name, _, _, truth in rows if truth != ''}
        assert set(found) <= set(hidden)
        assert all(int(truth) == hidden[key] for key, truth in found.items())
        metrics = json.loads((tested[0] / 'metrics.json').read_text())
        assert len(found) == metrics['recovery']['hidden']
        assert all((float(probability) > 0.5) == (decision == '1') for _, _, probability, decision, _ in rows)

    def test_two_processes_measure_the_same(self, repository, work, tested, digits, tmp_path, distributed_env):
        run(
            *('bash', repository / 'tools' / 'dist_test.sh', 'sarlp_r18_digits_p0.1', work, 2),
            *('--out', tmp_path / 'out', '--work-dir', tmp_path / 'log', *options_of(reduced(digits))),
            env=distributed_env(),
        )
        one, two = (json.loads((folder / 'metrics.json').read_text()) for folder in (tested[0], tmp_path / 'out'))
        assert one == two
        for name in ('predictions.csv', 'recovered_labels.csv'):  # also the order of the images
            one, two = (read_csv(folder / name) for folder in (tested[0], tmp_path / 'out'))
            assert [row[0] for row in one] == [row[0] for row in two]


def call(tool, *arguments):
    """A tool inside this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [str(tool), *map(str, arguments)])
        runpy.run_path(str(tool), run_name='__main__')


class TestMaps:
    @pytest.fixture
    def draw(self, repository, work, tmp_path):
        config = work / 'sarlp_r18_digits_p0.1.py'

        def draw(*arguments, config=config, checkpoint=work):
            out = tmp_path / 'maps'
            call(repository / 'tools/visualize_cam.py', config, checkpoint, '--out-dir', out, *arguments)
            figures = sorted(path for path in out.rglob('*') if path.is_file())
            for path in figures:
                with Image.open(path) as image:
                    pixels = np.asarray(image.convert('RGB'))
                assert min(pixels.shape[:2]) > 48
                assert pixels.std() > 5  # something is drawn
            return [path.relative_to(out).as_posix() for path in figures]

        return draw

    def test_one_image(self, draw, digits, tmp_path):
        outside = tmp_path / 'from elsewhere.png'
        Image.open(digits / 'JPEGImages' / '000003.jpg').resize((80, 64)).save(outside)
        with pytest.warns(UserWarning, match='80 x 64 px .* trained on images of 48 x 48 px'):
            drawn = draw('--img', outside, '--threshold', '0')
        assert drawn == [f'{outside.relative_to(outside.anchor)}.png']

    def test_folder(self, draw, digits, tmp_path, capsys):
        folder = tmp_path / 'images'
        folder.mkdir()
        for name in ('b.png', 'a.JPG'):
            Image.open(digits / 'JPEGImages' / '000003.jpg').save(folder / name)
        (folder / 'notes.txt').write_text('no image')
        assert draw('--img', folder) == ['a.JPG.png', 'b.png.png']
        assert '2 figures in ' in capsys.readouterr().out

    def test_split(self, draw):
        assert draw('--split', 'test', '--max-images', '2') == [
            'JPEGImages/000025.jpg.png',
            'JPEGImages/000026.jpg.png',
        ]

    def test_baseline_by_gradcam(self, draw, digits, make_config, tmp_path):
        pytest.importorskip('pytorch_grad_cam')
        cfg = make_config('baseline', **{'train_cfg.max_epochs': 1})
        runner = build_runner(cfg)
        runner.train()
        config = tmp_path / 'work' / 'baseline_r18_digits_p0.1.py'
        cfg.dump(config)
        arguments = ('--split', 'train', '--max-images', '1', '--method', 'gradcam')
        assert draw(*arguments, config=config, checkpoint=tmp_path / 'work') == ['JPEGImages/000001.jpg.png']

    def test_no_image(self, draw, tmp_path, capsys):
        with pytest.raises(SystemExit) as exit_:
            draw('--img', tmp_path / 'none.jpg')
        assert exit_.value.code == 1
        assert capsys.readouterr().err == f'error: {tmp_path}/none.jpg: no such image or folder\n'


class TestErrors:
    def test_missing_config_in_a_process_of_its_own(self, repository):
        result = run(sys.executable, repository / 'tools' / 'train.py', 'sarlp_r18_digit', check=False)
        assert result.returncode == 1
        assert 'error: sarlp_r18_digit: no such config' in result.stderr
        assert 'sarlp_r18_digits_p0.1' in result.stderr
        assert 'Traceback' not in result.stderr

    @pytest.mark.parametrize('tool', ['test', 'visualize_cam'])
    def test_missing_config(self, repository, tool, capsys):
        arguments = ['none.py', 'none.pth', *(['--split', 'test', '--out-dir', 'x'] if tool != 'test' else [])]
        with pytest.raises(SystemExit) as exit_:
            call(repository / 'tools' / f'{tool}.py', *arguments)
        assert exit_.value.code == 1
        assert capsys.readouterr().err.startswith('error: none.py: no such config')

    def test_missing_data(self, repository, digits, tmp_path, capsys):
        cfg_options = reduced(digits) | {'train_dataloader.dataset.data_root': tmp_path / 'nowhere'}
        with pytest.raises(SystemExit) as exit_:
            call(
                *(repository / 'tools' / 'train.py', 'sarlp_r18_digits_p0.1', '--work-dir', tmp_path / 'work'),
                *options_of(cfg_options),
            )
        assert exit_.value.code == 1
        message = capsys.readouterr().err
        assert message.startswith('error: 1 input is missing:\n- data: ')
        assert 'sarlp convert digits --out data/digits' in message
        assert not (tmp_path / 'work').exists()

    def test_missing_checkpoint(self, repository, digits, tmp_path, capsys):
        with pytest.raises(SystemExit) as exit_:
            call(repository / 'tools' / 'test.py', 'sarlp_r18_digits_p0.1', tmp_path / 'none.pth')
        assert exit_.value.code == 1
        assert capsys.readouterr().err == f'error: {tmp_path}/none.pth: no such checkpoint\n'

    def test_checkpoint_of_another_model(self, repository, work, digits, tmp_path, capsys):
        with pytest.raises(SystemExit) as exit_:
            call(
                *(repository / 'tools' / 'test.py', 'baseline_r18_digits_p0.1', work, '--work-dir', tmp_path / 'log'),
                *options_of(reduced(digits, 'baseline')),
            )
        assert exit_.value.code == 1
        message = capsys.readouterr().err
        assert 'the checkpoint is of another model than the config describes' in message
        assert 'missing: head.score.bias, head.score.weight' in message
