"""How well planted errors in known labels are found: the suspects of a completion beside cleanlab's rankings.

    python benchmarks/suspects.py --settings lite0_frozen_voc_sample --work-dir work_dirs/suspects

A share of the known labels of the training images is turned over, each by its own number of (seed, image, class). The
completion trains in folds on what is left of the truth, so that every label is doubted by a model that has not seen
its image. Then all known labels are ranked, and the average precision of a ranking is that of finding what was turned.

Rankings: `suspects`, of sarlp, and the same by calibrated probabilities; with --in-sample by the scores of one model
that was trained on all of the labels; and, of cleanlab (`pip install cleanlab`), its label quality scores for each
class, given those probabilities. cleanlab knows no unknown labels: each class is handed to it by itself, as a problem
of two classes over the images where it is known.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from mmengine.config import Config
from sklearn.metrics import average_precision_score

from sarlp.apps.completion import Completion, complete_labels
from sarlp.apps.completion.scoring import score
from sarlp.apps.completion.suspects import doubts
from sarlp.apps.completion.training import train_to_the_end
from sarlp.commands.friendly import friendly_errors
from sarlp.datasets.annotation import dump_annotation, labels_of, load_annotation
from sarlp.datasets.nesting import annotation_path, digest_of_images, leaves
from sarlp.engine import load_config
from sarlp.engine.config.options import read_options
from sarlp.engine.testing import loader_for_testing
from sarlp.errors import UserError
from sarlp.inference import init_model
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN, class_keys, uniform_numbers

LEAF = 'train_dataloader.dataset'
SCORES = {
    'self-confidence': dict(method='self_confidence'),
    'adjusted': dict(method='self_confidence', adjust_pred_probs=True),
    'margin, adjusted': dict(method='normalized_margin', adjust_pred_probs=True),
    'weighted entropy': dict(method='confidence_weighted_entropy'),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--settings', nargs='+', required=True, help='of sarlp list, such as lite0_frozen_voc_sample')
    parser.add_argument('--method', default='few', help='default: %(default)s')
    parser.add_argument('--known-ratios', nargs='+', default=['0.1', '0.5', '1'], help='default: %(default)s')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1], help='of mask and errors; default: %(default)s')
    parser.add_argument('--share', type=float, default=0.05, help='of the known labels; default: %(default)s')
    parser.add_argument('--folds', type=int, default=3, help='default: %(default)s')
    parser.add_argument('--in-sample', action='store_true', help='also train a model on all labels, and rank by it')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='changes to the config')
    parser.add_argument('--work-dir', required=True, type=Path, help='what is finished there is not done again')
    parser.add_argument('--json', metavar='FILE', help='also write the rows to this file')
    return parser.parse_args()


def plant(cfg: Config, file: Path, share: float, seed: int) -> None:
    """Write the training annotations with a share of the labels turned over, each by its own number."""
    (leaf,) = leaves(cfg.train_dataloader.dataset)
    metainfo, entries = load_annotation(annotation_path(leaf))
    classes = metainfo.pop('classes')
    keys = class_keys(classes)
    planted = []
    for entry in entries:
        labels, ignore = labels_of(entry, len(classes))
        turned = (uniform_numbers(seed, entry['img_path'], keys, 'planted error') < share) & ~ignore
        labels = np.where(turned & (labels != UNKNOWN), 1 - labels, labels)
        positive, negative = (np.flatnonzero(labels == code).tolist() for code in (POSITIVE, NEGATIVE))
        planted.append({**entry, 'positive': positive, 'negative': negative})
    file.parent.mkdir(parents=True, exist_ok=True)
    dump_annotation(file, classes, planted, **metainfo)


def arrays(completion: Completion, cfg: Config) -> dict[str, np.ndarray]:
    """What rankings rest on, (N, C) each: labels, which of them are wrong, scores and probabilities."""
    (leaf,) = leaves(cfg.train_dataloader.dataset)
    metainfo, entries = load_annotation(annotation_path(leaf))
    true, ignore = zip(*(labels_of(entry, len(metainfo['classes'])) for entry in entries), strict=True)
    place = {entry['img_path']: row for row, entry in enumerate(entries)}
    rows = [place[image] for image in completion.scored.image_ids]
    columns = [metainfo['classes'].index(name) for name in completion.record.classes]
    observed = np.where(np.stack(ignore)[rows][:, columns], UNKNOWN, completion.scored.observed)
    wrong = (observed != UNKNOWN) & (observed != np.stack(true)[rows][:, columns])
    return dict(observed=observed, wrong=wrong, scores=completion.scored.scores, probabilities=completion.probabilities)


def by_cleanlab(probabilities: np.ndarray, observed: np.ndarray, **options) -> np.ndarray:
    """(N, C), high where a label is likely wrong; NaN where there is none, or a class has labels of one kind alone."""
    from cleanlab.rank import get_label_quality_scores

    doubt = np.full(observed.shape, np.nan)
    for column, labels in enumerate(observed.T):
        known = labels != UNKNOWN
        p = probabilities[known, column]
        if len(set(labels[known])) == 2:
            quality = get_label_quality_scores(labels[known].astype(int), np.stack([1 - p, p], 1), **options)
            doubt[known, column] = 1 - quality
    return doubt


def average_precision(doubt: np.ndarray, observed: np.ndarray, wrong: np.ndarray) -> float:
    """Of the wrong labels in the ranking of all known ones; what has no doubt comes last."""
    known = observed != UNKNOWN
    return float(average_precision_score(wrong[known], np.nan_to_num(doubt[known], nan=-np.inf).clip(-1e9)))


def in_sample(cfg: Config, image_ids: list[str], work_dir: Path) -> np.ndarray:
    """(N, C) scores of a model that was trained on all of the images."""
    dataset = cfg.train_dataloader.dataset
    checkpoint = train_to_the_end(cfg, dataset, digest_of_images(dataset), work_dir, 'in sample')
    model = init_model(cfg.copy(), checkpoint, 'cpu')
    found = score(model, loader_for_testing(cfg, dataset), 'train')
    place = {image: row for row, image in enumerate(found.image_ids)}
    return found.scores[[place[image] for image in image_ids]]


def measure(name: str, folder: Path, args: argparse.Namespace, seed: int) -> dict:
    """A row of the table."""
    clean = load_config(name)
    file = (folder / 'planted.json').absolute()
    plant(clean, file, args.share, seed)
    options = {f'{LEAF}.ann_file': str(file), **read_options(args.cfg_options)}
    if clean.train_dataloader.dataset.get('label_mask') is not None:  # at 1 there is none
        options[f'{LEAF}.label_mask.seed'] = seed
    completion = complete_labels(name, None, folder / 'recovered.csv', folds=args.folds, cfg_options=options)
    found = arrays(completion, clean)
    observed, wrong = found['observed'], found['wrong']
    rankings = {
        'suspects': doubts(found['scores'], observed),
        'calibrated': doubts(found['probabilities'], observed),
    }
    if args.in_sample:
        seen = in_sample(load_config(name, options), completion.scored.image_ids, folder / 'in_sample')
        rankings['in sample'] = doubts(seen, observed)
    for title, how in SCORES.items():
        rankings[title] = by_cleanlab(found['probabilities'], observed, **how)
    row = {'known': int((observed != UNKNOWN).sum()), 'wrong': int(wrong.sum())}
    return row | {title: average_precision(doubt, observed, wrong) for title, doubt in rankings.items()}


def main() -> None:
    args = parse_args()
    if not 0 < args.share < 0.5:
        raise UserError(f'--share must be in (0, 0.5), got {args.share}')
    rows = []
    for setting in args.settings:
        for ratio in args.known_ratios:
            for seed in args.seeds:
                name = f'{args.method}_{setting}_p{ratio}'
                row = {'config': name, 'seed': seed}
                row |= measure(name, args.work_dir / name / f'seed{seed}', args, seed)
                print(json.dumps(row), flush=True)
                rows.append(row)
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1) + '\n')


if __name__ == '__main__':
    with friendly_errors():
        main()
