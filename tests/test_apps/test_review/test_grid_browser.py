"""Many images at a time, and several people at once, in a real browser from opening to export."""

import json

import pytest

from sarlp.apps.review import DecisionLog, log_path

from .conftest import CLASSES, lines, read_sheet

CAT = CLASSES[0]
SOFA = CLASSES[2]
WORDS = {1: 'positive', 0: 'negative', -1: 'undecided'}
pytestmark = [
    pytest.mark.filterwarnings('ignore:This process .* is multi-threaded'),  # of fork in Python 3.12
    pytest.mark.timeout(300),
]


class Grid:
    """What somebody sees of the grid and does in it."""

    def __init__(self, me):
        self.me, self.page = me, me.page
        me.wait(lambda: self.page.is_visible('#tiles'))

    def images(self):
        """Those that are shown, once their thumbnails are there."""
        shown = """() => [...document.querySelectorAll('.tile img')].every(
            (image) => image.complete && image.naturalWidth && image.getClientRects().length)"""
        self.me.wait(lambda: self.page.evaluate(shown))
        return [tile.get_attribute('title') for tile in self.page.query_selector_all('.tile')]

    def answers(self):
        return [tile.get_attribute('data-answer') for tile in self.page.query_selector_all('.tile')]

    def tile(self, index):
        return self.page.locator('.tile').nth(index)

    def focused(self):
        return self.page.evaluate(
            "[...document.querySelectorAll('.tile')].findIndex((tile) => tile === document.activeElement)"
        )

    def next_page(self, before, action):
        action()
        self.me.wait(lambda: [tile.get_attribute('title') for tile in self.page.query_selector_all('.tile')] != before)


def decided(made):
    with DecisionLog(log_path(made.table), read_only=True) as log:
        return {pair: WORDS[code] for pair, code in log.decided.items()}


def order_of(made, name):
    """Recovered labels of a class by probability, from the highest down."""
    return [row[0] for row in sorted((row for row in made.recovered if row[1] == name), key=lambda row: -row[2])]


def test_from_opening_to_export(made, serve, person):
    _, address = serve()
    me = person().open(address, '#order=highest&kind=&class=')
    page = me.page
    expected = {}
    pair = me.decide(lambda: me.press('y'), 'there')
    expected[pair] = 'positive'

    # the grid is of the class in front of one, in the order that was chosen
    page.select_option('[name=class]', SOFA)
    me.wait(lambda: me.item()[1] == SOFA)
    me.press('Escape')
    page.click('h1')
    me.press('g')
    grid = Grid(me)
    order = [image for image in order_of(made, SOFA) if (image, SOFA) not in expected]
    suspects = {row[0] for row in made.suspects if row[1] == SOFA}
    shown = grid.images()
    assert [image for image in shown if image not in suspects] == order
    assert page.inner_text('#grid-class') == f'Which of these show: {SOFA}?'
    assert not page.is_visible('#image') and not page.is_visible('[data-decision=positive]')
    page.select_option('#number', '12')
    me.wait(lambda: len(page.query_selector_all('.tile')) == min(12, len(shown)))
    assert grid.images() == shown[:12] and len(shown) > 8

    # keys: answer and go on, arrows, leave open
    assert grid.focused() == 0
    me.press('y')
    me.press('n')
    me.press('u')
    assert grid.answers()[:4] == ['positive', 'negative', 'undecided', ''] and grid.focused() == 3
    me.press('ArrowLeft')
    me.press('Delete')
    assert grid.answers()[:4] == ['positive', 'negative', '', '']
    # a click toggles, and with Shift takes the range
    for answer in ('positive', 'negative', '', 'positive'):
        grid.tile(3).click()
        assert grid.answers()[3] == answer
    grid.tile(5).click(modifiers=['Shift'])
    assert grid.answers()[2:7] == ['', 'positive', 'positive', 'positive', '']
    me.press('Shift+ArrowRight')
    assert grid.answers()[5:8] == ['positive', 'positive', '']
    assert '5 there, 1 not there, 0 undecided' in page.inner_text('#tally')
    assert not (decided(made).keys() - expected.keys())  # marks are no answers yet
    assert page.get_attribute('.tile >> nth=1', 'aria-label').endswith('Answer: not there')

    # one page is one line of the log
    before = lines(log_path(made.table))
    grid.next_page(shown[:12], lambda: me.press('Enter'))
    me.status('Saved: 6 labels of sofa')
    assert len(lines(log_path(made.table))) == len(before) + 1
    page_of = {0: 'positive', 1: 'negative', **dict.fromkeys(range(3, 7), 'positive')}
    expected |= {(shown[index], SOFA): answer for index, answer in page_of.items()}
    assert decided(made) == expected

    # undone in one, and open again, in front of one
    me.press('Control+z')
    me.status('Undone: sofa – not reviewed again .* and 5 more labels')
    assert decided(made) == {pair: 'positive'}
    assert grid.images() == shown[:12] and set(grid.answers()) == {''}

    # all, all not, all open; the rest
    me.press('a')
    assert set(grid.answers()) == {'positive'}
    me.press('a')
    assert set(grid.answers()) == {'negative'}
    me.press('a')
    assert set(grid.answers()) == {''}
    grid.tile(1).click()
    me.press('r')
    assert grid.answers() == ['negative', 'positive', *['negative'] * (len(grid.answers()) - 2)]
    answered = grid.images()
    page.click('#save')
    me.status(f'Saved: {len(answered)} labels of sofa')
    expected = (
        {pair: 'positive'} | {(image, SOFA): 'negative' for image in answered} | {(answered[1], SOFA): 'positive'}
    )
    assert decided(made) == expected

    # loaded again, it is still the grid; back, all classes are there again
    page.reload()
    me.wait(lambda: page.is_visible('#grid-panel') and page.inner_text('#grid-class'))
    me.press('g')
    me.wait(lambda: page.is_visible('#question') or page.is_visible('#end'))

    page.click('#export-open')
    page.uncheck('#with-model')
    page.click('#export-write')
    me.wait(lambda: page.is_visible('#exported'))
    cells = {'positive': '1', 'negative': '0'}
    path = made.place.root / 'recovered_reviewed' / 'labels.csv'
    for row, old in zip(read_sheet(path)[1:], made.sheet[1:], strict=True):
        for column, name in enumerate(CLASSES, 1):
            assert row[column] == cells.get(expected.get((row[0], name)), old[column])


@pytest.mark.slow
def test_undo_after_a_restart(made, serve, person):
    process, address = serve()
    me = person().open(address, f'#view=grid&order=highest&class={CAT}')
    grid = Grid(me)
    shown = grid.images()
    me.press('a')
    me.press('Enter')
    me.status(f'Saved: {len(shown)} labels of cat')
    process.kill()
    process.join()
    serve(port=int(address.rpartition(':')[2]))
    me.page.reload()
    me.wait(lambda: me.page.is_enabled('#undo'))
    me.page.click('#undo')
    me.status(f'Undone: cat – not reviewed again .* and {len(shown) - 1} more labels')
    assert decided(made) == {}
    assert grid.images() == shown


@pytest.mark.parametrize('keep', ['theirs', 'mine'])
def test_two_people(made, serve, person, keep):
    """Both are told of different labels; who answers what the other has answered is asked, and nothing is lost."""
    _, address = serve()
    one, two = person().open(address), person().open(address)
    first, second = one.item(), two.item()
    assert first != second
    # the other one goes to the label of the first one by its address
    query = '#item=' + one.page.evaluate("new URLSearchParams(location.hash.slice(1)).get('item')")
    two.page.goto('about:blank')
    two.elsewhere.clear()
    two.open(address, query)
    assert two.item() == first
    assert 'Somebody else has it in front of them, too' in two.places()
    one.decide(lambda: one.press('y'), 'there')
    two.press('n')
    image, name = first
    assert two.alert() == (
        f'Somebody else answered meanwhile: {name} – there ({image}). Your answer, not there, is not saved.'
    )
    assert decided(made) == {first: 'positive'}
    two.page.click(f'#{keep}')
    two.wait(lambda: not two.page.is_visible('#alert'))
    assert decided(made) == {first: 'positive' if keep == 'theirs' else 'negative'}
    assert two.item() != first
    # each undoes their own
    assert two.page.is_enabled('#undo') == (keep == 'mine')
    if keep == 'mine':
        two.press('z')
        two.status('Undone')
    assert decided(made) == {first: 'positive'}
    one.press('z')
    one.status('Undone')
    assert decided(made) == {}


@pytest.mark.slow
@pytest.mark.parametrize('keep', ['theirs', 'mine'])
def test_two_people_at_a_page(made, serve, person, keep):
    _, address = serve()
    one = person().open(address, f'#view=grid&order=highest&class={CAT}')
    grid = Grid(one)
    shown = grid.images()
    # all are in front of the first one; the other one decides on two of them in the single view nevertheless
    two = person().open(address, f'#order=highest&class={CAT}&state=open')
    taken = [two.decide(lambda: two.press('n'), 'not there')[0] for _ in range(2)]
    assert set(taken) <= set(shown)
    one.press('a')
    one.press('Enter')
    assert one.alert().startswith('Somebody else answered 2 of these labels meanwhile')
    assert decided(made) == {(image, CAT): 'negative' for image in taken}
    marked = [tile.get_attribute('title') for tile in one.page.query_selector_all('.tile:has(.conflict)')]
    assert sorted(marked) == sorted(taken)
    assert 'somebody else: ✕ not there' in one.page.inner_text('.conflict >> nth=0')
    one.page.click(f'#{keep}')
    one.status('Saved: ')
    other = 'negative' if keep == 'theirs' else 'positive'
    assert decided(made) == {(image, CAT): other if image in taken else 'positive' for image in shown}


@pytest.mark.slow
def test_nobody_decides_blindly_in_a_grid(made, serve, person):
    _, address = serve()
    me, held = person(), []
    me.page.route('**/thumb/**', lambda route: held.append(route))
    me.open(address, f'#view=grid&class={CAT}')
    grid = Grid(me)
    me.wait(lambda: len(held) > 2)
    grid.tile(0).click()
    me.press('a')
    me.press('y')
    assert set(grid.answers()) == {''}
    for route in held:
        route.continue_()
    me.page.unroute('**/thumb/**')
    grid.images()
    me.press('a')
    assert set(grid.answers()) == {'positive'}


@pytest.mark.slow
def test_a_page_that_is_refused(made, serve, person):
    """Nothing is lost: the marks stay until they are saved."""
    _, address = serve()
    me = person().open(address, f'#view=grid&class={CAT}')
    grid = Grid(me)
    shown = grid.images()
    refused = json.dumps({'error': 'OSError: No space left on device'})
    me.page.route(
        '**/api/answers', lambda route: route.fulfill(status=500, content_type='application/json', body=refused)
    )
    me.press('a')
    me.press('Enter')
    assert me.alert() == 'OSError: No space left on device'
    assert grid.images() == shown and set(grid.answers()) == {'positive'} and decided(made) == {}
    me.page.unroute('**/api/answers')
    me.page.click('#retry')
    me.status(f'Saved: {len(shown)} labels')
    assert len(decided(made)) == len(shown)


@pytest.mark.slow
@pytest.mark.parametrize('width', [360, 1400])
def test_keyboard_and_narrow_windows(made, serve, person, width):
    """Nothing sticks out; controls have names; the tile that keys are for is seen to be, and Tab leaves the tiles."""
    _, address = serve()
    me = person(viewport={'width': width, 'height': 760}).open(address, f'#view=grid&class={CAT}')
    grid = Grid(me)
    grid.images()
    page = me.page
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    unnamed = """() => [...document.querySelectorAll('button, select, input')].filter((element) =>
        element.checkVisibility() && !element.textContent.trim() && !element.labels?.length
        && !element.getAttribute('aria-label')).map((element) => element.outerHTML)"""
    assert page.evaluate(unnamed) == []
    named = page.get_by_role('group', name=f'Which of these show: {CAT}?')
    assert named.locator('.tile').count() == len(page.query_selector_all('.tile'))
    assert page.evaluate('getComputedStyle(document.activeElement).outlineStyle') == 'solid'
    me.press('ArrowDown')
    columns = grid.focused()
    assert columns >= (2 if width == 360 else 4)
    tops = [tile.bounding_box()['y'] for tile in page.query_selector_all('.tile')]
    assert tops[columns] > tops[columns - 1] == tops[0]
    me.press('Tab')
    assert grid.focused() == -1
    me.press('Shift+Tab')
    assert grid.focused() == columns
    # whoever chooses with the keyboard stays there until Escape
    shown = grid.images()
    page.evaluate("document.querySelector('#filters').open = true")
    page.focus('[name=order]')
    grid.next_page(shown, lambda: me.press('ArrowDown'))
    assert grid.focused() == -1
    me.press('Escape')
    assert grid.focused() == 0
