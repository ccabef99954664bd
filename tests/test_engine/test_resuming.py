"""A run that was killed and resumed is the run that was never interrupted."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from sarlp.engine import newest_checkpoint, read_checkpoint
from sarlp.engine.records.checkpoint_file import is_whole
from sarlp.engine.records.checkpoints import ResumableCheckpointHook
from sarlp.engine.records.resuming import check_resumable
from sarlp.engine.training.loop import ResumableSampler
from sarlp.errors import UserError

HERE = Path(__file__).parent


def same(one, other, where='checkpoint'):
    """Equal to the last bit, through dicts and lists."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            same(one[key], other[key], f'{where}.{key}')
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, pair in enumerate(zip(one, other, strict=True)):
            same(*pair, f'{where}[{index}]')
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other or (one != one and other != other), where


def assert_same_run(one: Path, other: Path):
    """The checkpoints of two work directories: weights, averages, optimizer, schedules, scores, and the best one."""
    names = sorted(path.name for path in one.glob('*.pth'))
    assert names == sorted(path.name for path in other.glob('*.pth'))
    assert sum(name.startswith('best_') for name in names) == 1
    for name in names:
        checkpoints = []
        for folder in (one, other):
            content = read_checkpoint(folder / name)
            hub = content.pop('message_hub')['runtime_info']
            meta = content.pop('meta')
            content['score'] = hub.get('best_score')
            content['position'] = meta['epoch'], meta['iter'], meta['seed']
            checkpoints.append(content)
        same(*checkpoints, name)


@pytest.fixture
def run(make_config, tmp_path):
    """``run('a', kills=3)``: trains in ``tmp_path / 'a'`` by killing.py; returns the folder and the print."""

    def start(name, kills, seed=0, **options):
        cfg = make_config(
            **{
                'work_dir': str(tmp_path / name),
                'train_dataloader.batch_size': 4,
                'train_cfg.max_epochs': 3,
                'default_hooks.checkpoint.iter_interval': 1,
                **options,
            }
        )
        cfg.dump(tmp_path / f'{name}.py')
        command = [sys.executable, str(HERE / 'killing.py'), str(tmp_path / f'{name}.py'), str(seed), str(kills)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        log = (tmp_path / f'{name}.log').read_text()
        assert done.returncode == 0 and 'exit 0' in done.stdout, done.stdout + done.stderr + log[-3000:]
        return tmp_path / name, done.stdout

    return start


def check_kills(run, kills, seed, **options):
    whole, _ = run('whole', kills=0, **options)
    killed, printed = run('killed', kills=kills, seed=seed, **options)
    hits, writing = map(int, re.search(r'(\d+) kills, (\d+) of them while writing', printed).groups())
    assert hits == kills
    assert_same_run(whole, killed)
    return writing


def test_killed_twice(run):
    check_kills(run, kills=2, seed=0)


@pytest.mark.slow
def test_killed_a_dozen_times(run):
    assert check_kills(run, kills=12, seed=1, **{'train_cfg.max_epochs': 8}) >= 3


@pytest.mark.slow
def test_killed_with_workers(run):
    options = {f'{loader}_dataloader.num_workers': 2 for loader in ('train', 'val')}
    check_kills(run, kills=4, seed=2, **options, **{'train_dataloader.persistent_workers': True})


class TestWithinAnEpoch:
    def test_any_iteration_can_be_gone_on_from(self, make_config, make_runner, tmp_path):
        """Without processes: each checkpoint of a run, resumed, ends in the same weights."""
        options = {'train_dataloader.batch_size': 5, 'default_hooks.checkpoint.iter_interval': 2}
        options['default_hooks.checkpoint.max_keep_ckpts'] = -1
        whole = make_runner(**options)
        whole.train()
        work = Path(whole.work_dir)
        found = sorted(path.name for path in work.glob('*_*.pth') if not path.name.startswith('best'))
        assert found == ['epoch_1.pth', 'epoch_2.pth', 'iter_2.pth', 'iter_4.pth', 'iter_6.pth', 'iter_8.pth']
        end = read_checkpoint(work / 'epoch_2.pth')
        for name in ('iter_2.pth', 'iter_8.pth'):
            again = make_runner(**options, work_dir=str(tmp_path / name), load_from=str(work / name), resume=True)
            again.train()
            same(read_checkpoint(tmp_path / name / 'epoch_2.pth')['state_dict'], end['state_dict'])

    @pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step')  # MMEngine's, of accumulated gradients
    def test_gradients_that_have_not_moved_the_weights_yet(self, make_runner, tmp_path):
        """Of 8 iterations each 3 move them; a checkpoint from between holds the gradients of those before."""
        options = {'train_dataloader.batch_size': 5, 'default_hooks.checkpoint.iter_interval': 1}
        options['default_hooks.checkpoint.max_keep_ckpts'] = -1
        options['optim_wrapper.accumulative_counts'] = 3
        whole = make_runner(**options)
        whole.train()
        work = Path(whole.work_dir)
        end = read_checkpoint(work / 'epoch_2.pth')
        assert 'accumulated' not in end and 'accumulated' not in read_checkpoint(work / 'iter_3.pth')
        for name in ('iter_2.pth', 'epoch_1.pth', 'iter_6.pth'):
            again = make_runner(**options, work_dir=str(tmp_path / name), load_from=str(work / name), resume=True)
            again.train()
            same(read_checkpoint(tmp_path / name / 'epoch_2.pth')['state_dict'], end['state_dict'])
        dropped = {**options, 'optim_wrapper.accumulative_counts': 2}
        work_dir = str(tmp_path / 'dropped')
        make_runner(**dropped, work_dir=work_dir, load_from=str(work / 'epoch_1.pth'), resume=True).train()
        log = ''.join(file.read_text() for file in Path(work_dir).glob('*/*.log'))
        assert 'accumulated before are dropped' in log

    def test_another_batch_size_is_refused(self, make_runner, tmp_path):
        options = {'train_dataloader.batch_size': 5, 'default_hooks.checkpoint.iter_interval': 4}
        runner = make_runner(**options)
        runner.train()
        options |= {'train_dataloader.batch_size': 8, 'work_dir': str(tmp_path / 'b'), 'resume': True}
        again = make_runner(**options, load_from=str(Path(runner.work_dir) / 'iter_8.pth'))
        message = (
            r'iter_8\.pth: is from within epoch 2 \(iteration 8 of the run\).*epoch length 5, batch size 5, '
            r'processes 1, images 24; now epoch length 3, batch size 8'
        )
        with pytest.raises(UserError, match=message):
            again.train()
        of_two = read_checkpoint(Path(runner.work_dir) / 'iter_8.pth')
        of_two['meta']['sampling']['processes'] = 2  # of which each had 5; a config says how many all of them have
        torch.save(of_two, tmp_path / 'iter_8.pth')
        with pytest.raises(UserError, match='batch size 10, processes 2, images 24; now .* batch size 8, processes 1'):
            make_runner(**options, load_from=str(tmp_path / 'iter_8.pth')).train()

    def test_the_sampler_leaves_out_once(self):
        sampler = ResumableSampler(range(11), shuffle=True, seed=3)
        everything = list(sampler)
        sampler.start = 4
        assert list(sampler) == everything[4:]
        assert list(sampler) == everything


class TestDamage:
    def checkpoint(self, path, number):
        meta = {'epoch': number // 5, 'iter': number}
        torch.save({'state_dict': {'weight': torch.full((97,), float(number))}, 'meta': meta}, path)

    def test_the_one_before_is_taken(self, tmp_path):
        for name, number in (('epoch_1.pth', 5), ('iter_7.pth', 7), ('epoch_2.pth', 10), ('iter_12.pth', 12)):
            self.checkpoint(tmp_path / name, number)
        (tmp_path / 'best_mAP_epoch_9.pth').write_bytes(b'not one to resume from')
        said = []
        assert newest_checkpoint(tmp_path, said.append).name == 'iter_12.pth'
        content = bytearray((tmp_path / 'iter_12.pth').read_bytes())
        content[len(content) // 2] ^= 1  # one bit
        (tmp_path / 'iter_12.pth').write_bytes(content)
        assert newest_checkpoint(tmp_path, said.append).name == 'epoch_2.pth'
        assert len(said) == 1 and 'iter_12.pth: is damaged' in said[0]
        whole = (tmp_path / 'epoch_2.pth').read_bytes()
        (tmp_path / 'epoch_2.pth').write_bytes(whole[: len(whole) // 2])
        assert newest_checkpoint(tmp_path, said.append).name == 'iter_7.pth'

    def test_every_flipped_bit_of_the_weights_is_seen(self, tmp_path):
        self.checkpoint(tmp_path / 'epoch_1.pth', 1)
        whole = (tmp_path / 'epoch_1.pth').read_bytes()
        weights = whole.index(torch.ones(97).numpy().tobytes())
        for offset in range(weights, weights + 4 * 97, 29):
            damaged = bytearray(whole)
            damaged[offset] ^= 1 << offset % 8
            (tmp_path / 'epoch_1.pth').write_bytes(damaged)
            assert not is_whole(tmp_path / 'epoch_1.pth')

    def test_all_damaged(self, tmp_path):
        (tmp_path / 'epoch_1.pth').write_bytes(b'')
        with pytest.raises(UserError, match='all of its 1 checkpoints are damaged'):
            newest_checkpoint(tmp_path, print)

    def test_none(self, tmp_path):
        assert newest_checkpoint(tmp_path, print) is None

    def test_a_resumed_run_passes_over_a_damaged_file(self, make_runner, caplog):
        options = {'default_hooks.checkpoint.max_keep_ckpts': 2}
        runner = make_runner(**options)
        runner.train()
        work = Path(runner.work_dir)
        end = read_checkpoint(work / 'epoch_2.pth')['state_dict']
        (work / 'epoch_2.pth').write_bytes((work / 'epoch_2.pth').read_bytes()[:-100])
        make_runner(**options, resume=True).train()
        same(read_checkpoint(work / 'epoch_2.pth')['state_dict'], end)


@pytest.mark.parametrize(
    'position', [{}, {'epoch': None, 'iter': 3}, {'epoch': 1, 'iter': -3}, {'epoch': '1', 'iter': 3}]
)
def test_a_checkpoint_without_a_place_is_not_gone_on_from(position):
    with pytest.raises(UserError, match='a.pth: holds a model, but nothing to go on from'):
        check_resumable({'meta': position, 'optimizer': {}, 'message_hub': {}}, 'a.pth')


class TestSigterm:
    """A scheduler's notice, to the whole process group, as schedulers send it."""

    @pytest.mark.parametrize('workers', [0, pytest.param(2, marks=pytest.mark.slow)])
    def test_saves_and_exits(self, make_config, tmp_path, workers):
        options = {f'{loader}_dataloader.num_workers': workers for loader in ('train', 'val')}
        cfg = make_config(**{'work_dir': str(tmp_path / 'work'), 'train_cfg.max_epochs': 1000, **options})
        cfg.default_hooks.logger.interval = 1
        cfg.dump(tmp_path / 'config.py')
        command = [sys.executable, 'tools/train.py', str(tmp_path / 'config.py')]
        environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
        process = subprocess.Popen(
            command, cwd=HERE.parents[1], env=environment, start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            for line in process.stdout:
                if line.startswith('epoch '):
                    break
            time.sleep(0.05)
            os.killpg(process.pid, signal.SIGTERM)
            rest = process.communicate(timeout=60)[0]
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == 143, rest
        saved = re.search(r'SIGTERM: stopped; (\S+) is saved', rest)[1]
        assert is_whole(Path(saved))
        assert (tmp_path / 'work' / 'last_checkpoint').read_text() == saved

    def test_twice_at_once_is_once(self, monkeypatch):
        """As ``timeout`` sends it, and who passes on what a scheduler sent to all: it saves itself yet."""
        hook, killed = ResumableCheckpointHook(), []
        monkeypatch.setattr(os, 'kill', lambda *signalled: killed.append(signalled))
        before = signal.getsignal(signal.SIGTERM)
        try:
            for seconds, ends in ((100, False), (100.7, False), (102, True)):
                monkeypatch.setattr(time, 'monotonic', lambda seconds=seconds: seconds)
                hook._on_sigterm()
                assert hook._told_to_stop() and bool(killed) == ends
        finally:
            signal.signal(signal.SIGTERM, before)
        assert killed == [(os.getpid(), signal.SIGTERM)]


def test_remains_of_a_killed_process_are_cleared(make_runner):
    runner = make_runner()
    remains = Path(runner.work_dir) / '.epoch_1.pth.tmp'
    remains.write_bytes(b'half')
    runner.train()
    assert not remains.exists()


def test_a_config_in_a_checkpoint_is_not_run(make_runner, tmp_path):
    """MMEngine's resume would: it is Python."""
    runner = make_runner()
    runner.train()
    path = Path(runner.work_dir) / 'epoch_2.pth'
    content = read_checkpoint(path)
    content['meta']['config'] = f'import os\nos.mkdir({str(tmp_path / "evil")!r})\n'
    torch.save(content, path)
    make_runner(resume=True).train()
    assert not (tmp_path / 'evil').exists()
