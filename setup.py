"""pyproject.toml has everything; this adds configs and tools to the wheel as ``sarlp/.mim``, as MMEngine expects."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:  # an editable install reads the checkout itself
            return
        target = Path(self.build_lib) / 'sarlp' / '.mim'
        for folder in ('configs', 'tools'):
            shutil.copytree(folder, target / folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns('__pycache__'))


setup(cmdclass={'build_py': BuildWithConfigs})
