"""The command line. Each command is a module of this folder with a ``main()`` that reads ``sys.argv``; those of
``sarlp convert`` that read a layout of data come by themselves (:mod:`sarlp.commands.convert_layout`).

This module imports none of them, so that ``sarlp --help`` answers at once.
"""

import difflib
import gc
import importlib
import sys
from collections.abc import Sequence

from sarlp.commands.convert_layout import layouts
from sarlp.commands.convert_layout import main as convert_layout

COMMANDS = {
    'complete': 'fill in the blanks of a spreadsheet from a folder of photographs, all in one',
    'train': 'train a config, or go on with a run',
    'test': 'test a checkpoint: metrics, predictions, recovered labels',
    'predict': 'the classes of images, as CSV or JSON, with figures if wanted',
    'refit': 'fit the last layer of a trained model again, class by class',
    'recover': 'complete the labels of a data set: a probability and a decision for each blank',
    'review': 'review completed labels in the browser',
    'maps': 'draw where a model sees each class',
    'export': 'write an ONNX file and check it',
    'serve': 'answer predictions over HTTP, of an ONNX file without PyTorch, or of a checkpoint',
    'report': 'a run as one HTML page',
    'dataset': 'what is known in annotation files, in figures',
    'convert': 'make annotation files, label embeddings, label masks: sarlp convert --help',
    'sweep': 'many trainings and tests: models x settings x known ratios x seeds',
    'results': 'the table and the plot of a sweep',
    'list': 'the configs that come with sarlp, or its parts by name',
}
LAYOUTS = layouts()
CONVERTERS = {
    'labels': 'a spreadsheet, JSON lines or COCO JSON with some labels known',
    **LAYOUTS,
    'digits': 'the built-in scenes of handwritten digits',
    'scenes': 'the built-in scenes of drawn things with names',
    'embeddings': 'label embeddings of class names',
    'mask': 'a label mask as a file',
    'released': "a checkpoint of the authors'",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """``sarlp COMMAND ...``; None takes the arguments of the process."""
    words = [*(sys.argv[1:] if arguments is None else arguments)]  # a module of this folder is called list
    name, kinds = 'sarlp', COMMANDS
    if words[:1] == ['convert']:
        name, kinds, words = 'sarlp convert', CONVERTERS, words[1:]
    if not words or words[0] in ('-h', '--help'):
        print(_help(name, kinds))
        return
    if words[0] == '--version':
        from sarlp import __version__

        print(f'sarlp {__version__}')
        return
    chosen = words.pop(0)
    if chosen not in kinds:
        near = difflib.get_close_matches(chosen, kinds, n=1)
        advice = f'did you mean {name} {near[0]}?' if near else f'see {name} --help'
        print(f'error: {name} {chosen}: no such command; {advice}', file=sys.stderr)
        sys.exit(2)
    sys.argv = [f'{name} {chosen}', *words]
    # what a command imports stays, and looking through it for garbage takes a quarter of the start; friendly_errors,
    # which comes behind the imports, sets it aside and has garbage collected again
    gc.disable()
    try:
        if kinds is CONVERTERS and chosen in LAYOUTS:
            return convert_layout(chosen)
        prefix = 'convert_' if kinds is CONVERTERS else ''
        importlib.import_module(f'sarlp.commands.{prefix}{chosen}').main()
    finally:
        gc.unfreeze()
        gc.enable()


def _help(name: str, kinds: dict[str, str]) -> str:
    width = max(map(len, kinds))
    lines = [f'usage: {name} {"WHAT" if kinds is CONVERTERS else "COMMAND"} [options]', '']
    lines += [f'  {kind:<{width}}  {what}' for kind, what in kinds.items()]
    return '\n'.join([*lines, '', f'{name} {"WHAT" if kinds is CONVERTERS else "COMMAND"} --help tells more.'])
