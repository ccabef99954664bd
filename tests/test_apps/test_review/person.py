"""Somebody in front of the page, in a real browser."""

import re
import time
from urllib.parse import urlsplit


class Person:
    """Somebody at a page; whatever goes elsewhere than to the server of the page, or wrong in it, is noted."""

    def __init__(self, browser, **options):
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.elsewhere, self.errors = [], []
        self.address = None
        self.context.on('request', self._note)
        self.page.on('pageerror', lambda error: self.errors.append(str(error)))

    def _note(self, request):
        place = urlsplit(request.url)
        if f'{place.scheme}://{place.netloc}' != self.address:
            self.elsewhere.append(request.url)

    def open(self, address, fragment=''):
        self.address = address
        self.page.goto(f'{address}/{fragment}')
        return self

    def wait(self, what, describe=''):
        """Until a function of the page gives something true; the page's own policy allows no waiting inside it."""
        until = time.monotonic() + 20
        while not (value := what()):
            assert time.monotonic() < until, describe or self.page.inner_text('body')
            self.page.wait_for_timeout(20)  # which lets the handlers run
        return value

    def painted(self, which='image'):
        """The width of a picture that is on the screen, in its own pixels."""
        script = f"""() => {{
            const picture = document.querySelector('#{which}');
            return !picture.hidden && picture.complete && picture.getClientRects().length && picture.naturalWidth;
        }}"""
        return self.wait(lambda: self.page.evaluate(script), f'{which} is not painted')

    def item(self):
        """Image and class that are shown, once the picture is there."""
        self.painted()
        return self.page.inner_text('#image-name'), self.page.inner_text('#class')

    def status(self, pattern):
        return self.wait(lambda: re.search(pattern, self.page.inner_text('#status')), pattern)

    def decide(self, action, word):
        image, name = self.item()
        action()
        self.status(re.escape(f'Saved: {name} – {word} ({image})'))
        return image, name

    def press(self, key):
        self.page.keyboard.press(key)

    def places(self):
        return self.page.inner_text('#place')

    def alert(self):
        return self.wait(lambda: self.page.is_visible('#alert') and self.page.inner_text('#alert-text'))
