"""Checkpoints: written whole, read without running code, loaded strictly."""

import os
import pickle
import re
import shutil

import mmengine.runner.runner
import numpy as np
import pytest
import torch
from mmengine.hooks import EMAHook
from torch import nn

from sarlp.engine import find_checkpoint, load_weights, read_checkpoint
from sarlp.errors import UserError


class Evil:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def fail_while_saving(monkeypatch):
    """The disk fills up in the middle of writing."""

    def save(checkpoint, filename, *args, **kwargs):
        with open(filename, 'wb') as stream:
            stream.write(b'half a checkp')
        raise OSError(28, 'No space left on device')

    def switch_on():
        monkeypatch.setattr(mmengine.runner.runner, 'save_checkpoint', save)

    return switch_on


def ready(runner):
    """As far as ``runner.train()`` gets before the first epoch."""
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    runner.call_hook('before_run')
    return runner


class TestSaving:
    def test_failure_leaves_the_older_file_whole(self, make_runner, tmp_path, fail_while_saving):
        runner = ready(make_runner())
        runner.save_checkpoint(str(tmp_path), 'a.pth', save_optimizer=False, save_param_scheduler=False)
        before = (tmp_path / 'a.pth').read_bytes()
        assert set(read_checkpoint(tmp_path / 'a.pth')['state_dict']) == set(runner.model.state_dict())
        fail_while_saving()
        with pytest.raises(OSError, match="No space left on device: '.*a.pth'"):
            runner.save_checkpoint(str(tmp_path), 'a.pth', save_optimizer=False, save_param_scheduler=False)
        assert (tmp_path / 'a.pth').read_bytes() == before
        with pytest.raises(OSError, match='No space left'):
            runner.save_checkpoint(str(tmp_path), 'b.pth', save_optimizer=False, save_param_scheduler=False)
        assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ['a.pth']  # and no remains

    def test_full_disk_in_the_second_epoch(self, make_runner, tmp_path, fail_while_saving):
        runner = make_runner()
        runner.val_loop.run = lambda: {'mAP': 50.0}  # what is measured does not matter here
        save = runner.save_checkpoint

        def save_checkpoint(out_dir, filename, *args, **kwargs):
            if filename == 'epoch_2.pth':
                fail_while_saving()
            save(out_dir, filename, *args, **kwargs)

        runner.save_checkpoint = save_checkpoint
        with pytest.raises(OSError, match='No space left'):
            runner.train()
        work = tmp_path / 'work'
        assert read_checkpoint(work / 'epoch_1.pth')['meta']['epoch'] == 1
        assert (work / 'last_checkpoint').read_text() == str(work / 'epoch_1.pth')


class TestReading:
    def test_runner_checkpoint(self, make_runner, tmp_path):
        runner = ready(make_runner())
        runner.message_hub.update_scalar('train/loss', np.float32(3.5))
        runner.message_hub.update_scalar('train/loss', 4.5)
        runner.save_checkpoint(str(tmp_path), 'a.pth')
        content = read_checkpoint(tmp_path / 'a.pth')
        assert {'meta', 'state_dict', 'message_hub', 'optimizer', 'param_schedulers'} <= set(content)
        assert len(content['meta']['dataset_meta']['classes']) == 10
        history = content['message_hub']['log_scalars']['train/loss']
        assert history.data[0].tolist() == [3.5, 4.5]
        assert history.mean(2) == 4.0  # the methods came back, though they are not in the file

    def test_no_file(self, tmp_path):
        with pytest.raises(UserError, match=r'none\.pth: no such checkpoint$'):
            read_checkpoint(tmp_path / 'none.pth')

    @pytest.mark.parametrize('kind', ['text', 'empty', 'cut off'])
    def test_no_checkpoint(self, tmp_path, kind):
        path = tmp_path / 'bad.pth'
        torch.save({'state_dict': {'w': torch.ones(1009)}}, path)
        if kind == 'text':
            path.write_text('epoch,loss\n')
        elif kind == 'empty':
            path.write_bytes(b'')
        else:
            path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(UserError, match=r'bad\.pth: is no checkpoint that can be loaded safely \(.+\)'):
            read_checkpoint(path)

    @pytest.mark.parametrize(
        ('content', 'found'),
        [
            ({'w': torch.ones(2), 'b': torch.ones(1)}, "a dict with 'w', 'b'"),
            ({'state_dict': 3}, "a dict with 'state_dict'"),
            ([torch.ones(2)], 'list'),
            (torch.ones(2), 'Tensor'),
            ({str(index): index for index in range(7)}, "a dict with '0', '1', '2', '3', '4', ..."),
        ],
    )
    def test_another_kind_of_file(self, tmp_path, content, found):
        torch.save(content, tmp_path / 'bad.pth')
        expected = f"bad.pth: is no checkpoint of sarlp: expected a dict with 'state_dict', got {found}"
        with pytest.raises(UserError, match=re.escape(expected) + '$'):
            read_checkpoint(tmp_path / 'bad.pth')

    @pytest.mark.parametrize('legacy', [False, True])
    def test_code_in_a_checkpoint_does_not_run(self, tmp_path, legacy):
        target, path = tmp_path / 'made-by-the-checkpoint', tmp_path / 'evil.pth'
        content = {'state_dict': {'w': torch.ones(3)}, 'meta': Evil(target)}
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(UserError, match=r'evil\.pth: is no checkpoint that can be loaded safely'):
            read_checkpoint(path)
        assert not target.exists()
        torch.load(path, weights_only=False)  # the trap works
        assert target.is_dir()

    def test_plain_pickle_does_not_run(self, tmp_path):
        target, path = tmp_path / 'made-by-the-checkpoint', tmp_path / 'evil.pth'
        path.write_bytes(pickle.dumps({'state_dict': Evil(target)}))
        with pytest.raises(UserError, match='loaded safely'):
            read_checkpoint(path)
        assert not target.exists()

    def test_getattr_is_not_allowed(self, tmp_path):
        class Indirect:
            def __reduce__(self):
                return getattr, ('text', 'upper')

        torch.save({'state_dict': {}, 'meta': Indirect()}, tmp_path / 'evil.pth')
        with pytest.raises(UserError, match=r'loaded safely \(Unsupported'):
            read_checkpoint(tmp_path / 'evil.pth')


class TestStrictLoading:
    @staticmethod
    def model():
        return nn.ModuleDict({'a': nn.Linear(3, 5), 'b': nn.Linear(5, 7)})

    def test_equal(self):
        model, other = self.model(), self.model()
        load_weights(other, {'state_dict': model.state_dict()}, 'x.pth')
        assert all(torch.equal(one, two) for one, two in zip(model.parameters(), other.parameters(), strict=True))

    def test_names_of_a_wrapped_model(self):
        model, other = self.model(), self.model()
        load_weights(other, {'state_dict': {f'module.{k}': v for k, v in model.state_dict().items()}}, 'x.pth')
        assert torch.equal(model['a'].weight, other['a'].weight)

    def test_everything_that_differs_is_listed(self):
        model = self.model()
        before = model['a'].weight.clone()
        state = self.model().state_dict()
        del state['b.bias']
        state['c.weight'] = torch.ones(2)
        state['b.weight'] = torch.ones(11, 5)
        with pytest.raises(UserError) as error:
            load_weights(model, {'state_dict': state}, 'x.pth')
        assert str(error.value).splitlines() == [
            'x.pth: the checkpoint is of another model than the config describes:',
            '  1 missing: b.bias',
            '  1 unexpected: c.weight',
            '  1 of another shape: b.weight (11, 5) instead of (7, 5)',
            'use the config that it was trained with (it lies in its work directory)',
        ]
        assert torch.equal(model['a'].weight, before)  # nothing half-loaded

    def test_long_lists_are_cut(self):
        model = nn.ModuleList([nn.Linear(1, 1) for _ in range(13)])
        with pytest.raises(UserError, match=r'  26 missing: 0\.bias, 0\.weight, .* and 16 more'):
            load_weights(model, {'state_dict': {}}, 'x.pth')

    def test_through_the_runner(self, make_runner, tmp_path):
        baseline = ready(make_runner('baseline'))
        baseline.save_checkpoint(str(tmp_path), 'a.pth', save_optimizer=False, save_param_scheduler=False)
        message = r'a\.pth: the checkpoint is of another model(.|\n)*\d+ missing: head\.encoder'
        with pytest.raises(UserError, match=message):
            make_runner('sarlp', training=False).load_checkpoint(str(tmp_path / 'a.pth'))

    def test_what_is_said_stands_alone(self, make_runner, tmp_path, capfd):
        """MMEngine's average lists hundreds of names before that, and takes what fits."""
        baseline = ready(make_runner('baseline'))
        baseline.save_checkpoint(str(tmp_path), 'a.pth', save_optimizer=False, save_param_scheduler=False)
        begun = make_runner('sarlp', load_from=str(tmp_path / 'a.pth'), work_dir=str(tmp_path / 'b'))
        with pytest.raises(UserError, match='of another model'):
            begun.train()
        out, err = capfd.readouterr()
        assert 'source state_dict' not in out + err
        same = make_runner('baseline', load_from=str(tmp_path / 'a.pth'), work_dir=str(tmp_path / 'c'))
        own, state = ready(same), torch.load(tmp_path / 'a.pth', weights_only=False)['state_dict']
        (average,) = (hook.ema_model.module for hook in own.hooks if isinstance(hook, EMAHook))
        with torch.no_grad():
            for tensor in average.parameters():
                tensor.zero_()
        own.load_checkpoint(str(tmp_path / 'a.pth'))
        assert all(torch.equal(tensor, state[name]) for name, tensor in average.state_dict().items())


class TestFindCheckpoint:
    def make(self, folder, *names, best=None):
        """Of an earlier version, without a record; the times of the files say the opposite of their order."""
        for name in names:
            epoch = int(re.search(r'\d+', name)[0])
            hub = {'runtime_info': {'best_ckpt': best and f'/where/it/was/{best}', 'resumable': list(names)}}
            torch.save(
                {'state_dict': {}, 'meta': {'epoch': epoch, 'iter': 3 * epoch}, 'message_hub': hub}, folder / name
            )
            os.utime(folder / name, (10**9 - epoch, 10**9 - epoch))

    def test_file_is_taken_as_it_is(self, tmp_path):
        assert find_checkpoint(tmp_path / 'any.pth') == str(tmp_path / 'any.pth')

    def test_best_comes_first(self, tmp_path):
        names = 'best_mAP_epoch_3.pth', 'best_mAP_epoch_20.pth', 'epoch_30.pth', 'epoch_9.pth'
        self.make(tmp_path, *names, best='best_mAP_epoch_20.pth')
        assert find_checkpoint(tmp_path) == str(tmp_path / 'best_mAP_epoch_20.pth')

    def test_newest_where_none_is_best(self, tmp_path):
        self.make(tmp_path, 'epoch_9.pth', 'epoch_10.pth')
        (tmp_path / '.epoch_11.pth.tmp').touch()
        assert find_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_10.pth')

    def test_none(self, tmp_path):
        shutil.copy(__file__, tmp_path / 'log.txt')
        with pytest.raises(UserError, match=r'holds no checkpoint \(\*\.pth\)'):
            find_checkpoint(tmp_path)
