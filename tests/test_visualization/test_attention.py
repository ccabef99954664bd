"""Attention maps and figures."""

import sys

import cv2
import numpy as np
import pytest
import torch

from sarlp.visualization import attention_maps, draw_figure, overlay, save_figure, scale_map, select_panels
from sarlp.visualization.attention import KINDS

H, W, C = 5, 7, 3


def make_image(height=48, width=64):
    return np.random.default_rng(0).integers(256, size=(height, width, 3), dtype=np.uint8)


def make_panel(kind='positive', name='dog', map_hw=None):
    return {'name': name, 'score': 0.934, 'kind': kind, 'map': np.eye(H, W) if map_hw is None else map_hw}


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
def test_maps_are_a_softmax_over_tokens_in_rows(dtype):
    scores = torch.randn(H * W, C, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_(True)
    maps = attention_maps(scores, (H, W))
    assert maps.shape == (C, H, W) and maps.dtype == np.float32
    expected = scores.detach().double().softmax(0)
    np.testing.assert_allclose(maps[2, 4, 3], expected[4 * W + 3, 2], rtol=1e-6)
    np.testing.assert_allclose(maps.sum((1, 2)), 1, rtol=1e-6)
    np.testing.assert_array_equal(attention_maps(scores.detach().float().numpy(), (H, W)).shape, maps.shape)


def test_maps_of_large_scores():
    scores = np.zeros((H * W, 1))
    scores[8] = 5000
    assert attention_maps(scores, (H, W))[0, 1, 1] == 1


@pytest.mark.parametrize(
    ('scores', 'message'),
    [
        (np.zeros((H * W + 1, C)), r'grid of 5 x 7 must have the shape \(35, classes\), but have \(36, 3\)'),
        (np.zeros(H * W), 'must have the shape'),
        (np.full((H * W, C), np.nan), 'NaN'),
    ],
)
def test_bad_token_scores_are_named(scores, message):
    with pytest.raises(ValueError, match=message):
        attention_maps(scores, (H, W))


def test_scale_map_keeps_the_axes():
    scores = np.zeros((H * W, 1))
    scores[1 * W + 5] = 20
    scaled = scale_map(attention_maps(scores, (H, W))[0], (50, 140), H * W)
    assert scaled.shape == (50, 140) and scaled.dtype == np.float32
    row, column = np.unravel_index(scaled.argmax(), scaled.shape)
    assert (row // 10, column // 20) == (1, 5)
    assert scaled.min() == 0 and scaled.max() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize('interpolation', ['bicubic', 'bilinear'])
def test_flat_map_is_not_stretched(interpolation):
    tokens = H * W
    flat = np.full((H, W), 1 / tokens, np.float32)
    noise = flat.copy()
    noise[2, 3] += 0.9 / tokens
    peak = flat.copy()
    peak[2, 3] += 1.1 / tokens
    np.testing.assert_allclose(scale_map(flat, (20, 28), tokens, interpolation), 1 / tokens, rtol=1e-5)
    assert scale_map(noise, (20, 28), tokens, interpolation).max() < 2.5 / tokens
    assert scale_map(peak, (20, 28), tokens, interpolation).max() > 0.7
    assert scale_map(np.ones((1, 1)), (4, 6)).tolist() == [[1.0] * 6] * 4
    # the number of tokens decides, not the size of the array
    assert scale_map(noise, (20, 28), 10 * tokens, interpolation).max() > 0.7


def test_scale_map_bad_input_is_named():
    with pytest.raises(ValueError, match='bicubic.*nearest'):
        scale_map(np.ones((2, 2)), (4, 4), interpolation='nearest')
    with pytest.raises(ValueError, match=r'\(2, 2, 1\)'):
        scale_map(np.ones((2, 2, 1)), (4, 4))


def test_overlay_colours_are_rgb_at_half_strength():
    image = np.full((2, 3, 3), 100, np.uint8)
    result = overlay(image, np.array([[0.0, 0.5, 1.0]] * 2))
    assert result.dtype == np.uint8 and result.shape == image.shape
    blue, middle, red = result[0].astype(int)
    assert blue[0] == 50 and blue[1] == 50 and blue[2] > 100
    assert red[2] == 50 and red[1] == 50 and red[0] > 100
    assert middle[1] > 150
    np.testing.assert_array_equal(overlay(image, np.ones((2, 3)), strength=0.0), image)


def test_overlay_bad_input_is_named():
    with pytest.raises(ValueError, match=r'\(4, 4\) and \(2, 3\)'):
        overlay(np.zeros((2, 3, 3), np.uint8), np.zeros((4, 4)))
    with pytest.raises(ValueError, match=r'uint8 in RGB, but is \(2, 3, 3\) float64'):
        overlay(np.zeros((2, 3, 3)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match='uint8 in RGB'):
        overlay(np.zeros((2, 3), np.uint8), np.zeros((2, 3)))


CLASSES = list('abcdefg')
SCORES = [0.1, 0.9, 0.8, 0.7, 0.6, 0.45, 0.2]
MAPS = np.arange(7 * H * W).reshape(7, H, W)


def chosen(**kwargs):
    return [(panel['name'], panel['kind']) for panel in select_panels(SCORES, MAPS, CLASSES, **kwargs)]


def test_select_panels():
    gt, full = [1, -1, -1, 1, -1, -1, 0], [1, 1, 0, 1, -1, 1, 0]
    panels = select_panels(torch.tensor(SCORES), torch.from_numpy(MAPS), CLASSES, torch.tensor(gt), torch.tensor(full))
    kinds = [(panel['name'], panel['kind']) for panel in panels]
    assert kinds == [('d', 'positive'), ('a', 'positive'), ('b', 'recovered'), ('c', 'false'), ('e', 'predicted')]
    assert panels[1]['score'] == pytest.approx(0.1) and type(panels[1]['score']) is float
    np.testing.assert_array_equal(panels[1]['map'], MAPS[0])
    assert chosen(gt=gt, full=full, max_panels=3) == kinds[:3]
    # without complete labels, a label that was given as absent is still known
    assert chosen(gt=[0, 0, -1, -1, -1, -1, 1], threshold=0.75) == [
        ('g', 'positive'),
        ('b', 'false'),
        ('c', 'predicted'),
    ]
    assert chosen(full=full, threshold=0.95) == [
        ('b', 'positive'),
        ('d', 'positive'),
        ('f', 'positive'),
        ('a', 'positive'),
    ]


def test_select_panels_without_labels():
    assert chosen(threshold=0.8) == [('b', 'predicted'), ('c', 'predicted')]
    assert chosen(threshold=0.95) == [('b', 'unknown')]
    assert chosen(gt=[0] * 7, threshold=0.95) == [('b', 'negative')]
    assert len(chosen(threshold=0.0)) == 7


def test_select_panels_bad_input_is_named():
    with pytest.raises(ValueError, match=r'scores of 7 classes must have the shape \(7,\), not \(6,\)'):
        select_panels(SCORES[:6], MAPS, CLASSES)
    with pytest.raises(ValueError, match=r'maps of 7 classes .* not \(6, 5, 7\)'):
        select_panels(SCORES, MAPS[:6], CLASSES)
    with pytest.raises(ValueError, match=r'full of 7 classes'):
        chosen(full=[1])
    with pytest.raises(ValueError, match='max_panels'):
        chosen(max_panels=0)


@pytest.mark.parametrize(('count', 'rows', 'columns'), [(0, 1, 1), (4, 1, 5), (5, 2, 5), (9, 2, 5), (11, 3, 5)])
@pytest.mark.parametrize('size', [(48, 64), (90, 30), (20, 190)])
def test_tiles_are_equal_and_in_rows_of_five(count, rows, columns, size):
    kinds = list(KINDS)
    figure = draw_figure(make_image(*size), [make_panel(kinds[i % len(kinds)]) for i in range(count)], 'an image')
    boxes = np.array([axes.get_position(original=True).bounds for axes in figure.axes])
    assert len(boxes) == count + 1
    assert len(np.unique(boxes[:, 1].round(6))) == rows
    assert len(np.unique(boxes[:, 0].round(6))) == columns
    np.testing.assert_allclose(boxes[:, 2:], boxes[:1, 2:].repeat(len(boxes), 0))
    assert boxes[:, :2].min() > 0 and (boxes[:, :2] + boxes[:, 2:]).max() < 1


def test_words_of_a_figure():
    long_name = 'a class name that is far too long for one panel'
    panels = [make_panel('recovered'), make_panel('false', long_name), make_panel('predicted', r'$\frac 5')]
    figure = draw_figure(make_image(), panels, title='t' * 500)
    texts = [text.get_text() for text in figure.texts]
    assert 'dog 0.93' in texts and 'image' in texts and '64 x 48 px' in texts
    assert r'$\frac 5 0.93' in texts
    assert {KINDS[kind][0] for kind in ('recovered', 'false', 'predicted')} <= set(texts)
    shortened = next(text for text in texts if text.startswith('a class'))
    assert shortened.endswith('… 0.93') and len(shortened) < len(long_name)
    edge = figure.bbox.width
    assert all(text.get_window_extent().x1 < edge for text in figure.texts)


def test_maps_of_pixels_are_drawn_as_they_are():
    image = np.full((48, 64, 3), 90, np.uint8)
    third = np.full((48, 64), 0.3)  # jet changes slowly there, so rounding does not show
    figure = draw_figure(image, [make_panel(map_hw=third), make_panel(map_hw=np.full((H, W), 0.3))])
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), image)
    for axes in figure.axes[1:]:
        np.testing.assert_array_equal(axes.images[0].get_array(), overlay(image, third))


def test_large_images_are_made_smaller():
    figure = draw_figure(make_image(1000, 2000), [make_panel(), make_panel(map_hw=np.zeros((1000, 2000)))])
    assert {axes.images[0].get_array().shape for axes in figure.axes} == {(360, 720, 3)}


def test_figure_is_saved_without_pyplot(tmp_path):
    loaded = 'matplotlib.pyplot' in sys.modules
    path = tmp_path / 'new' / 'figure.png'
    figure = draw_figure(make_image(), [make_panel()])
    save_figure(figure, path)
    assert ('matplotlib.pyplot' in sys.modules) == loaded
    picture = cv2.imread(str(path))
    width, height = figure.get_size_inches() * figure.dpi
    assert abs(picture.shape[1] - width) <= 1 and abs(picture.shape[0] - height) <= 1
    assert picture.std() > 10


def test_unknown_kind_is_named():
    with pytest.raises(ValueError, match="must be one of positive, .* but is 'maybe'"):
        draw_figure(make_image(), [make_panel('maybe')])
