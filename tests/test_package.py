"""Configs are found in a checkout and in an installed package."""

import gc
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from mmengine.config import Config

from sarlp import paths
from sarlp.engine import load_config
from sarlp.errors import UserError
from sarlp.paths import find_config, shipped

NAME = 'sarlp_r101_voc_p0.1'
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestFindConfig:
    @pytest.mark.parametrize('name', [NAME, f'{NAME}.py', f'sarlp/{NAME}.py', f'configs/sarlp/{NAME}.py'])
    def test_by_name(self, elsewhere, name):
        assert find_config(name) == REPOSITORY / 'configs' / 'sarlp' / f'{NAME}.py'

    @pytest.mark.parametrize('ratio', ['0.3', '0.15', '1.0'])
    @pytest.mark.parametrize('form', ['{}', '{}.py', 'sarlp/{}.py', 'configs/sarlp/{}.py'])
    def test_another_known_ratio(self, elsewhere, form, ratio):
        """It need not be written down; see tests/test_configs.py for what is in it."""
        name = f'sarlp_r101_voc_p{ratio}'
        assert find_config(form.format(name)) == REPOSITORY / 'configs' / 'sarlp' / f'{name}.py'

    def test_another_known_ratio_of_an_own_config(self, elsewhere):
        (elsewhere / 'mine_p0.1.py').write_text('a = 1\n')
        assert find_config('mine_p0.7.py') == Path('mine_p0.7.py')
        assert paths.variant_of('mine_p0.7.py') == paths.Variant(Path('mine_p0.1.py'), 0.7)
        (elsewhere / 'mine_p0.7.py').write_text('a = 2\n')
        assert paths.variant_of('mine_p0.7.py') is None  # what is there goes before

    def test_by_path(self, elsewhere):
        (elsewhere / 'mine.py').write_text('a = 1\n')
        assert find_config('mine.py') == Path('mine.py')
        assert find_config(elsewhere / 'mine.py') == elsewhere / 'mine.py'

    def test_own_file_goes_before_a_shipped_one(self, elsewhere):
        (elsewhere / 'configs/sarlp').mkdir(parents=True)
        own = elsewhere / f'configs/sarlp/{NAME}.py'
        own.write_text('a = 1\n')
        assert find_config(f'configs/sarlp/{NAME}.py').resolve() == own

    @pytest.mark.parametrize('folder', ['.', 'configs/mine'])
    def test_own_ones_have_bare_names(self, elsewhere, folder):
        """As those have that the sweep asks for; also over a shipped one, which would be trained in their place."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        for name in ('baseline_mine_p0.1', NAME):
            (place / f'{name}.py').write_text('a = 1\n')
            assert find_config(name) == place / f'{name}.py'
        assert find_config('baseline_mine_p0.7') == place / 'baseline_mine_p0.7.py'
        assert find_config('hill_mine_p0.7') == place / 'hill_mine_p0.7.py'
        variant = paths.variant_of(place / 'hill_mine_p0.7.py')
        assert (variant.base.resolve(), variant.ratio) == ((place / 'baseline_mine_p0.1.py').resolve(), 0.7)
        assert find_config('baseline_r101_voc_p0.7').parent == REPOSITORY / 'configs' / 'baseline'

    def test_own_ones_of_one_name(self, elsewhere):
        for folder in ('configs/a', 'configs/b'):
            Path(folder).mkdir(parents=True)
            Path(folder, 'mine_p0.1.py').write_text('a = 1\n')
        with pytest.raises(UserError, match=r'mine_p0.3: there are several, configs/a/mine_p0\.3\.py, configs/b/'):
            find_config('mine_p0.3')
        with pytest.raises(UserError, match=r'mine_p0.1: there are several, configs/a/mine_p0\.1\.py, configs/b/'):
            find_config('mine_p0.1')
        Path('mine_p0.1.py').write_text('a = 1\n')  # nearest
        assert find_config('mine_p0.1') == Path('mine_p0.1.py')

    def test_a_method_goes_over_the_nearest_setting(self, elsewhere, monkeypatch):
        """Not over the one of another experiment whose folder happens to come before in the alphabet."""
        for folder in ('exp1', 'exp2', 'exp3', 'exp4'):
            Path(folder).mkdir()
        for folder in ('exp1', 'exp3'):
            Path(folder, 'baseline_r18_digits_p0.1.py').write_text('a = 1\n')
            Path(folder, 'baseline_mine_p0.1.py').write_text('a = 1\n')
        assert paths.variant_of('exp3/hill_r18_digits_p0.1.py').base == elsewhere / 'exp3/baseline_r18_digits_p0.1.py'
        with pytest.raises(UserError, match=r'exp4/hill_mine_p0.1.py: is not there, .* any of .*exp1/.*exp3/'):
            find_config('exp4/hill_mine_p0.1.py')
        monkeypatch.chdir('exp4')
        assert find_config('hill_r18_digits_p0.1').parent.parent == REPOSITORY / 'configs'

    def test_at_the_root_of_the_disk(self, monkeypatch):
        monkeypatch.chdir('/')
        assert find_config('hill_r18_digits_p0.3').parent.parent == REPOSITORY / 'configs'

    @pytest.mark.parametrize(
        'name', ['sarlp_r101_voc_p0.0', 'sarlp_r101_voc_p1.5', 'sarlp_r101_voc_0.1', 'sarlp_r18_digit']
    )
    def test_near_names_are_listed(self, elsewhere, name):
        with pytest.raises(UserError) as error:
            find_config(name)
        message = str(error.value)
        assert message.startswith(f'{name}: no such config, neither here nor in {REPOSITORY / "configs"}; there are ')
        listed = re.split(', ', message.split('there are ')[1])
        assert ('sarlp_r18_digits_p0.1' if 'r18' in name else NAME) in listed
        assert len(listed) <= 13

    @pytest.mark.parametrize('meant', ['few_lite0_frozen_custom', 'q2l_r101_voc_p0.1', 'few_r18_digits_p0.1'])
    def test_near_names_of_a_method_and_a_setting(self, elsewhere, meant):
        """Which no file has, nor those that nothing stands behind."""
        with pytest.raises(UserError) as error:
            find_config(meant.replace('0', '00'))
        listed = re.split(', ', str(error.value).split('there are ')[1].removesuffix(', ...'))
        assert listed[0] == meant
        for name in listed:
            find_config(name)

    def test_nothing_near(self, elsewhere):
        with pytest.raises(UserError, match=r'zebra\.py: no such config, .* there are baseline_.*, \.\.\.$'):
            find_config('zebra.py')

    @pytest.mark.parametrize('name', ['_base_', 'default_runtime', 'voc2007', 'other/sarlp_r101_voc_p0.1.py', '', '.'])
    def test_bases_and_folders_are_no_configs(self, elsewhere, name):
        with pytest.raises(UserError, match='no such config'):
            find_config(name)

    def test_names_are_unique(self):
        names = [path.name for path in shipped('configs').glob('*/*.py') if path.parent.name != '_base_']
        assert len(names) == len(set(names)) > 20


class TestBases:
    """A config of one's own, anywhere, that inherits from a shipped one."""

    @pytest.mark.parametrize('base', [f'configs/sarlp/{NAME}.py', f'sarlp/{NAME}.py', NAME])
    def test_from_anywhere(self, elsewhere, base):
        (elsewhere / 'mine.py').write_text(f'_base_ = {base!r}\ntrain_cfg = dict(max_epochs=2)\n')
        cfg = load_config('mine.py')
        assert cfg.train_cfg.max_epochs == 2
        assert cfg.model == load_config(NAME).model
        assert cfg.work_dir == 'work_dirs/mine'

    def test_parts_and_chains(self, elsewhere):
        (elsewhere / 'a').mkdir()
        parts = ['configs/_base_/datasets/digits.py', 'configs/_base_/default_runtime.py']
        (elsewhere / 'a' / 'first.py').write_text(f'_base_ = {parts}\n')
        (elsewhere / 'second.py').write_text("_base_ = 'a/first.py'\nvalue = _base_.data_root\n")
        cfg = load_config(elsewhere / 'second.py')
        assert (cfg.value, cfg.default_scope) == ('data/digits', 'sarlp')

    @pytest.mark.parametrize('base', ['few_lite0_frozen_custom', 'few_lite0_frozen_custom.py'])
    def test_one_that_is_not_written_down(self, elsewhere, base):
        (elsewhere / 'mine.py').write_text(f'_base_ = {base!r}\ntrain_cfg = dict(max_epochs=2)\n')
        cfg = load_config('mine.py')
        assert (cfg.model.head.type, cfg.train_cfg.max_epochs) == ('TokenHead', 2)

    def test_own_base_goes_before_a_shipped_one(self, elsewhere):
        (elsewhere / 'configs/sarlp').mkdir(parents=True)
        (elsewhere / f'configs/sarlp/{NAME}.py').write_text('mark = 1\n')
        (elsewhere / 'mine.py').write_text(f"_base_ = 'configs/sarlp/{NAME}.py'\n")
        assert load_config('mine.py').mark == 1
        (elsewhere / 'folder').mkdir()
        (elsewhere / 'mine.py').rename(elsewhere / 'folder' / 'mine.py')
        assert 'mark' not in load_config('folder/mine.py')  # relative to the config, not to where one stands

    @pytest.mark.filterwarnings('ignore:unclosed file')  # MMEngine's copy of the config, when reading it ends early
    def test_no_such_base(self, elsewhere):
        (elsewhere / 'mine.py').write_text("_base_ = 'configs/sarlp/sarlp_r51_custom.py'\n")
        with pytest.raises(UserError, match=r'mine\.py: its _base_ is not there\. .* there are sarlp_r50_custom'):
            load_config('mine.py')
        gc.collect()

    def test_mmengine_itself_is_as_it_was(self, elsewhere):
        search = Config._get_cfg_path
        (elsewhere / 'mine.py').write_text(f'_base_ = {NAME!r}\n')
        load_config('mine.py')
        assert Config._get_cfg_path is search


class TestShipped:
    def test_checkout(self):
        assert shipped('configs') == REPOSITORY / 'configs'
        assert (shipped('tools') / 'train.py').is_file()

    def test_installed(self, tmp_path, monkeypatch):
        package = tmp_path / 'site-packages' / 'sarlp'
        (package / '.mim' / 'configs' / 'sarlp').mkdir(parents=True)
        (package / '.mim' / 'configs' / 'sarlp' / f'{NAME}.py').write_text('')
        monkeypatch.setattr(paths, '__file__', str(package / 'paths.py'))
        monkeypatch.chdir(tmp_path)  # where there are no configs, which would go before
        assert shipped('configs') == package / '.mim' / 'configs'
        assert find_config(NAME) == package / '.mim' / 'configs' / 'sarlp' / f'{NAME}.py'


USE_INSTALLED = f"""
import sys
from pathlib import Path
import sarlp
from sarlp.engine import load_config
from sarlp.engine.build import set_num_classes
from sarlp.paths import find_config
from sarlp.registry import MODELS

assert Path(sarlp.__file__).parent == Path(sys.argv[1]) / 'sarlp', sarlp.__file__
Path('mine.py').write_text("_base_ = 'configs/sarlp/sarlp_r50_custom.py'\\ndata_root = 'x'\\n")
assert load_config('mine.py').train_dataloader.dataset.data_root == 'x'
assert find_config({NAME!r}) == Path(sys.argv[1]) / 'sarlp/.mim/configs/sarlp/{NAME}.py'
cfg = load_config('sarlp_r18_digits_p0.1')
set_num_classes(cfg, 10, 'test')
print(type(MODELS.build(cfg.model)).__name__, sarlp.__version__)
"""


@pytest.mark.slow
def test_wheel(tmp_path):
    def run(*command, **options):
        result = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
        return result.stdout

    before = {path for path in REPOSITORY.rglob('.mim')}
    # from a copy of what git knows, so that nothing is left in the source tree and nothing in it leaks into the wheel
    listed = run('git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard', cwd=REPOSITORY)
    source = tmp_path / 'source'
    for name in filter(None, listed.split('\0')):
        if (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((REPOSITORY / name).read_bytes())
    run(
        *(sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '--quiet'),
        *('--wheel-dir', tmp_path / 'wheel', source),
    )
    (wheel,) = (tmp_path / 'wheel').glob('sarlp-*.whl')
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
    for folder in ('configs', 'tools'):
        for path in (source / folder).rglob('*'):
            if path.is_file():
                assert f'sarlp/.mim/{path.relative_to(source)}' in names
    for path in (source / 'sarlp').rglob('*'):
        assert path.is_dir() or str(path.relative_to(source)) in names
    assert not any('__pycache__' in name or name.startswith(('tests/', 'data/', 'work_dirs/')) for name in names)

    target = tmp_path / 'site'
    run(sys.executable, '-m', 'pip', 'install', '--no-deps', '--no-index', '--quiet', '--target', target, wheel)
    (tmp_path / 'empty').mkdir()
    # -P and PYTHONPATH: the installed copy, not the checkout that an editable install points at
    environment = {**os.environ, 'PYTHONPATH': str(target)}
    printed = run(sys.executable, '-c', USE_INSTALLED, target, cwd=tmp_path / 'empty', env=environment)
    assert printed.splitlines()[-1].startswith('MultiLabelClassifier ')
    # the command, which needs no checkout
    console = {'cwd': tmp_path / 'empty', 'env': environment}
    assert 'sarlp_r18_digits_p<ratio>' in run(target / 'bin' / 'sarlp', 'list', 'digits', **console)
    made = ('convert', 'digits', '--out', 'digits', '--num-train', '24', '--num-test', '11', '--size', '48')
    run(target / 'bin' / 'sarlp', *made, **console)
    assert (tmp_path / 'empty' / 'digits' / 'labels' / 'trainval.json').is_file()
    assert {path for path in REPOSITORY.rglob('.mim')} == before
