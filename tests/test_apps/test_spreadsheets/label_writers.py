"""Label matrices written in each form by loops of their own, against which the readers are tested."""

import csv
import io
import json

YES_NO = {1: 'yes', 0: 'no', -1: ''}
JSON_WORDS = {1: True, 0: False, -1: None}


def table(rows, delimiter=',', newline='\r\n'):
    stream = io.StringIO(newline='')
    csv.writer(stream, delimiter=delimiter, lineterminator=newline).writerows(rows)
    return stream.getvalue()


def wide(images, classes, labels, words=YES_NO, **style):
    return table(
        [['image', *classes], *([name, *map(words.get, row)] for name, row in zip(images, labels, strict=True))],
        **style,
    )


def long(images, classes, labels, words=YES_NO, **style):
    rows = [['image', 'class', 'value']]
    for name, row in zip(images, labels, strict=True):
        rows += [[name, classes[index], words[int(code)]] for index, code in enumerate(row) if code != -1]
    return table(rows, **style)


def lines(records):
    return ''.join(json.dumps(record) + '\n' for record in records)


def json_wide(images, classes, labels):
    return lines(
        {'image': name, **{c: JSON_WORDS[int(code)] for c, code in zip(classes, row, strict=True)}}
        for name, row in zip(images, labels, strict=True)
    )


def json_long(images, classes, labels):
    return lines(
        {'image': name, 'class': classes[index], 'value': int(code)}
        for name, row in zip(images, labels, strict=True)
        for index, code in enumerate(row)
        if code != -1
    )


def json_nested(images, classes, labels):
    return lines(
        {'id': 13, 'image': name, 'labels': {c: YES_NO[int(code)] for c, code in zip(classes, row, strict=True)}}
        for name, row in zip(images, labels, strict=True)
    )


def json_lists(images, classes, labels):
    return lines(
        {
            'image': name,
            'positive': [c for c, code in zip(classes, row, strict=True) if code == 1],
            'negative': [c for c, code in zip(classes, row, strict=True) if code == 0],
        }
        for name, row in zip(images, labels, strict=True)
    )


def coco(images, classes, labels, verified=False):
    ids = [7 * index + 3 for index in range(len(classes))]  # with gaps, as COCO's
    content = {'info': {}, 'images': [], 'annotations': [], 'categories': []}
    content['categories'] = [{'id': i, 'name': c} for i, c in zip(ids, classes, strict=True)]
    for number, (name, row) in enumerate(zip(images, labels, strict=True)):
        record = {'id': 100 + number, 'file_name': name, 'not_exhaustive_category_ids': []}
        if verified:
            record['verified_category_ids'] = [i for i, code in zip(ids, row, strict=True) if code != -1]
        else:
            record['neg_category_ids'] = [i for i, code in zip(ids, row, strict=True) if code == 0]
        content['images'].append(record)
        for i, code in zip(ids, row, strict=True):
            if code == 1:  # two boxes of one class are one label
                content['annotations'] += [{'image_id': 100 + number, 'category_id': i, 'bbox': [0, 0, 5, 5]}] * 2
    return json.dumps(content, indent=1)


def coco_verified(images, classes, labels):
    return coco(images, classes, labels, verified=True)


FORMS = {
    'wide.csv': wide,
    'long.csv': long,
    'wide.jsonl': json_wide,
    'long.jsonl': json_long,
    'nested.jsonl': json_nested,
    'lists.jsonl': json_lists,
    'negatives.json': coco,
    'verified.json': coco_verified,
}
