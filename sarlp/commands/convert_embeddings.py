r"""Make the label embeddings of a data set: one vector for each class name.

Example:
    sarlp convert embeddings data/VOC2007/labels/trainval.json \
        --kind bert --out data/VOC2007/labels/bert.npz
    sarlp convert embeddings data/VOC2007/labels/trainval.json \
        --kind bert --model pip://all-minilm-l6-v2 --pooling mean --out data/VOC2007/labels/minilm.npz
    sarlp convert embeddings data/VOC2007/labels/trainval.json \
        --kind glove --file glove.840B.300d.txt --out data/VOC2007/labels/glove.npz
    sarlp convert embeddings data/VOC2007/labels/trainval.json \
        --kind clip --pretrained RN101.pt --out data/VOC2007/labels/clip.npz
"""

import argparse
from functools import partial

from sarlp.commands.arguments import default_of, new_parser


def parse_args() -> argparse.Namespace:
    bert = default_of('datasets/converters/label_embeddings/bert.py', 'bert_embeddings', 'model')
    clip = partial(default_of, 'datasets/converters/label_embeddings/clip.py', 'clip_embeddings')
    # options that are not given stay unset, so that the library's defaults hold
    parser = new_parser('convert embeddings', __doc__, argument_default=argparse.SUPPRESS)
    parser.add_argument('ann_file', metavar='ANN_FILE', help='annotation file of any split; its classes are taken')
    parser.add_argument(
        '--kind', required=True, choices=('bert', 'glove', 'clip', 'random'), help='where the vectors come from'
    )
    parser.add_argument('--out', required=True, metavar='FILE.npz', help='file to write')
    parser.add_argument(
        '--model',
        metavar='PATH_OR_NAME',
        help=f'bert: folder, hub name or pip://all-minilm-l6-v2; default: {bert}. clip: name of open_clip; '
        f'default: {clip("model")}',
    )
    parser.add_argument(
        '--pooling',
        choices=('reference', 'mean'),
        help="bert: the paper's rule, or the mean over the tokens, as sentence encoders want it; default: "
        + default_of('datasets/converters/label_embeddings/bert.py', 'bert_embeddings', 'pooling'),
    )
    parser.add_argument('--file', metavar='FILE.txt', help='glove: a word and its numbers a line')
    parser.add_argument(
        '--pretrained',
        metavar='FILE_OR_NAME',
        help=f'clip: file of weights, or name of open_clip; default: {clip("pretrained")}',
    )
    parser.add_argument(
        '--prompts',
        nargs='+',
        metavar='TEXT',
        help=f'clip: texts with {{}} for the class, averaged; default: {clip("prompts")[0]!r}',
    )
    parser.add_argument('--seed', type=int, help='random: another seed gives other vectors')
    parser.add_argument('--dim', type=int, help='random: width of the vectors')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from sarlp.commands.friendly import friendly_errors  # after parsing: the import takes seconds, --help should not
    from sarlp.datasets.converters.label_embeddings import make_embeddings
    from sarlp.io.embeddings import load_embeddings

    with friendly_errors():
        path = make_embeddings(**vars(args))
        print(f'{path}: {" x ".join(map(str, load_embeddings(path).shape))}')
