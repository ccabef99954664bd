"""A person's session in a real browser, against a real server process that is killed in between."""

import json
import re

import pytest

from sarlp.apps.review import DecisionLog, log_path

from .conftest import CLASSES, lines, name_of, read_sheet

DOG = CLASSES[1]
pytestmark = [
    pytest.mark.filterwarnings('ignore:This process .* is multi-threaded'),  # of fork in Python 3.12
    pytest.mark.timeout(300),
]


def expected_order(made, state):
    """Probability from the highest down, of one class and from 0.3 to 0.9."""
    chosen = [row for row in made.recovered if row[1] == DOG and 0.3 <= row[2] <= 0.9 and row[:2] not in state]
    return [row[:2] for row in sorted(chosen, key=lambda row: -row[2])]


def test_a_session(made, serve, person):
    process, address = serve()
    me = person().open(address)
    page = me.page
    decided = {}

    # the first image is there, and nothing of its name was taken for markup
    assert me.painted() == 96
    assert page.title() == 'Review of recovered.csv'
    waiting = {row[:2] for row in made.recovered if row[3] == 'undecided'} | {row[:2] for row in made.suspects}

    def told(number):
        return f'{number} reviewed, {len(waiting - decided.keys())} to decide'

    assert page.inner_text('#progress-text') == told(0)
    blanks, filled = len(made.recovered), sum(row[3] != 'undecided' for row in made.recovered)
    assert blanks > filled + 10  # of which the axis would show little
    axes = ['blanks filled', f'{filled + 10:,}', f'{filled:,}', '0', '10', 'labels reviewed']
    me.wait(lambda: page.locator('#curve text').all_text_contents() == axes)
    assert page.evaluate("document.querySelectorAll('main b b, [onclick]').length") == 0
    assert DOG in page.inner_text('[name=class]')
    assert page.inner_text('#map-note') == 'no maps in this test'
    assert page.is_disabled('#toggle-map') and page.is_disabled('#undo')

    # by key and by click
    decided[me.decide(lambda: me.press('y'), 'there')] = 'positive'
    decided[me.decide(lambda: page.click('[data-decision=negative]'), 'not there')] = 'negative'
    decided[me.decide(lambda: me.press('u'), 'undecided')] = 'undecided'
    assert page.inner_text('#progress-text') == told(3)
    assert len(lines(log_path(made.table))) == 3

    # a class and a range of probabilities; then in the order asked for
    page.select_option('[name=class]', DOG)
    page.select_option('[name=order]', 'highest')
    page.fill('[name=low]', '0.3')
    page.fill('[name=high]', '0.9')
    me.press('Tab')
    order = expected_order(made, decided)
    assert len(order) > 4
    me.wait(lambda: me.places() == f'1 of {len(order)}')
    assert me.item() == order[0]
    me.press('5')  # in a field, keys are text
    me.press('Escape')
    me.press('ArrowRight')
    me.wait(lambda: me.item() == order[1])
    me.press('ArrowRight')
    me.wait(lambda: me.item() == order[2])
    page.click('#back')
    me.wait(lambda: me.item() == order[1])
    me.decide(lambda: me.press('n'), 'not there')
    decided[order[1]] = 'negative'
    assert me.item() == order[2]
    assert me.places() == f'2 of {len(order) - 1}'

    # undo goes back to the item
    me.press('z')
    me.status('Undone: .* – not reviewed again')
    del decided[order[1]]
    assert me.item() == order[1]
    assert page.inner_text('#progress-text') == told(3)

    # the tab is loaded again: the same item, the same filters, the same progress
    page.reload()
    me.wait(lambda: page.inner_text('#progress-text') == told(3))
    assert me.item() == order[1]
    assert page.input_value('[name=class]') == DOG
    assert page.input_value('[name=low]') == '0.3'
    assert me.places() == f'2 of {len(order)}'

    # the server dies: the decision is not acknowledged, the page stays where it is
    process.kill()
    process.join()
    me.press('y')
    assert 'the server can not be reached' in me.alert()
    assert me.item() == order[1]
    assert 'Saved' not in page.inner_text('#status')
    with DecisionLog(log_path(made.table), read_only=True) as log:
        assert log.decided == {pair: {'positive': 1, 'negative': 0, 'undecided': -1}[w] for pair, w in decided.items()}

    # it comes back, and the same decision is tried again
    serve(port=int(address.rpartition(':')[2]))
    page.click('#retry')
    me.status(re.escape(f'Saved: {DOG} – there ({order[1][0]})'))
    decided[order[1]] = 'positive'
    me.wait(lambda: not page.is_visible('#alert'))

    # a suggestion, accepted and rejected; and a suspect
    page.click('[type=reset]')
    me.wait(lambda: me.places() == f'1 of {len(made.recovered) + len(made.suspects) - 4}')
    page.select_option('[name=kind]', 'suggested')
    me.wait(lambda: page.is_enabled('#accept'))
    suggested = {row[:2]: row[3] for row in made.recovered}
    words = {'positive': 'there', 'negative': 'not there'}
    other = {'positive': 'negative', 'negative': 'positive'}
    pair = me.item()
    decided[me.decide(lambda: page.click('#accept'), words[suggested[pair]])] = suggested[pair]
    pair = me.item()
    page.click('h1')
    decided[me.decide(lambda: me.press('r'), words[other[suggested[pair]]])] = other[suggested[pair]]
    page.select_option('[name=kind]', 'suspect')
    me.wait(lambda: page.inner_text('#says').startswith('Suspect'))
    pair = me.item()
    label = next(row[2] for row in made.suspects if row[:2] == pair)
    assert (
        page.inner_text('#says')
        == f'Suspect: it is labelled as {words[label]}, the model suggests {words[other[label]]}. '
        'It was trained on this very label, and may know it by heart.'
    )
    page.click('h1')
    decided[me.decide(lambda: me.press('a'), words[other[label]])] = other[label]
    assert page.inner_text('#progress-text') == told(7)

    # the list ends
    me.press('ArrowRight')
    me.wait(lambda: page.inner_text('#end-title') == 'End of the list')
    assert page.inner_text('#end-text').startswith('1 labels are in this selection')
    me.press('y')  # nothing is shown, nothing is decided
    me.press('Home')
    me.wait(lambda: page.is_visible('#question') and me.item() != pair)

    # export, and read it
    page.click('#export-open')
    page.uncheck('#with-model')
    page.click('#export-write')
    me.wait(lambda: page.is_visible('#exported'))
    assert page.inner_text('#export-status') == 'Written: 7 reviewed labels, 0 by the model.'
    assert page.inner_text('#command').startswith('sarlp train ')
    path = made.place.root / 'recovered_reviewed' / 'labels.csv'
    assert str(path) in page.inner_text('#files')
    cells = {'positive': '1', 'negative': '0', 'undecided': ''}
    for row, old in zip(read_sheet(path)[1:], made.sheet[1:], strict=True):
        for column, name in enumerate(CLASSES, 1):
            word = decided.get((row[0], name))
            assert row[column] == (old[column] if word is None else cells[word])
    page.keyboard.press('Escape')
    assert not page.is_visible('#export')

    # what the page acknowledged is what the log has
    with DecisionLog(log_path(made.table), read_only=True) as log:
        assert log.decided == {pair: {'positive': 1, 'negative': 0, 'undecided': -1}[w] for pair, w in decided.items()}


def test_refusals_are_seen(made, serve, person):
    """A server that refuses: the reason is on the page, and nothing moves on."""
    _, address = serve()
    me = person().open(address)
    pair = me.item()
    refused = json.dumps({'error': 'OSError: No space left on device'})
    me.page.route(
        '**/api/decide', lambda route: route.fulfill(status=500, content_type='application/json', body=refused)
    )
    me.press('y')
    assert me.alert() == 'OSError: No space left on device'
    assert me.item() == pair
    assert me.page.get_attribute('#alert', 'role') == 'alert'
    me.page.unroute('**/api/decide')
    me.page.click('#retry')
    me.status('Saved')
    assert me.item() != pair


def test_maps(made, serve, person):
    _, address = serve(with_maps=True)
    me = person().open(address)
    assert me.painted() == me.painted('map') == 96
    assert me.page.get_attribute('#toggle-map', 'aria-pressed') == 'true'
    me.press('m')
    me.wait(lambda: not me.page.is_visible('#map'))
    me.page.reload()
    me.painted()
    assert me.page.get_attribute('#toggle-map', 'aria-pressed') == 'false'
    me.page.click('#toggle-map')
    me.painted('map')


def test_no_model_and_no_image(made, serve, person):
    """Without the checkpoint the images are shown, without an image the reason; decisions go on."""
    (made.place.root / 'model').unlink()
    (made.root / 'photos' / name_of(0)).write_bytes(b'no image')
    _, address = serve(with_maps=True)
    me = person().open(address, '#order=image')
    me.wait(lambda: me.page.is_visible('#picture-note'))
    assert me.page.inner_text('#picture-note').startswith('The image can not be shown: ')
    image = me.page.inner_text('#image-name')
    assert image == name_of(0)
    while me.page.inner_text('#image-name') == image:
        before = me.page.inner_text('#class')
        me.wait(lambda: me.page.is_visible('#picture-note'))
        me.press('u')
        me.wait(lambda: me.page.inner_text('#class') != before or me.page.inner_text('#image-name') != image)  # noqa: B023
    assert me.painted() == 96
    me.wait(lambda: me.page.inner_text('#map-note').startswith('No map: '))


def test_nobody_decides_blindly(made, serve, person):
    """A key that comes before the next image is on the screen decides nothing."""
    _, address = serve()
    me, held = person(), []
    me.page.route('**/image/**', lambda route: held.append(route))
    me.open(address)
    me.wait(lambda: held)
    me.press('y')
    assert not log_path(made.table).read_bytes()
    held.pop().continue_()
    me.item()
    me.wait(lambda: held)  # the next one is fetched ahead
    me.press('y')
    me.status('Saved')
    for key in 'ynua':
        me.press(key)
    me.page.wait_for_timeout(200)
    assert len(lines(log_path(made.table))) == 1
    for route in held:
        route.continue_()
    me.painted()
    me.press('n')
    me.wait(lambda: len(lines(log_path(made.table))) == 2)


@pytest.mark.parametrize('width', [360, 800, 1400])
def test_keyboard_and_narrow_windows(made, serve, person, width):
    """Nothing sticks out to the side; every control has a name and is reached by Tab."""
    _, address = serve()
    me = person(viewport={'width': width, 'height': 760}).open(address)
    page = me.page
    me.item()
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    unnamed = """() => [...document.querySelectorAll('button, select, input, img')].filter((element) => {
        if (!element.checkVisibility()) return false;
        const named = element.labels?.length || element.getAttribute('aria-label') || element.alt;
        return !(element.textContent.trim() || named);
    }).map((element) => element.outerHTML)"""
    assert page.evaluate(unnamed) == []
    wanted = page.evaluate("""() => [...document.querySelectorAll('button, select, input')].filter((element) =>
        element.checkVisibility() && !element.disabled).length""")
    page.evaluate('document.activeElement.blur()')
    reached = set()
    for _ in range(wanted + 15):
        page.keyboard.press('Tab')
        reached.add(
            page.evaluate("""() => [...document.querySelectorAll('button, select, input')]
            .indexOf(document.activeElement)""")
        )
    assert len(reached - {-1}) == wanted
    page.focus('[data-decision=negative]')
    page.keyboard.press('Enter')
    me.status('Saved: .* – not there')
