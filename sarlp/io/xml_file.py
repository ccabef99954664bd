"""XML of strangers: no entities, no document types, no depth, and comments kept."""

from xml.etree import ElementTree

_DEEPEST = 100  # levels; writing a tree takes a call of Python for each


class _Builder(ElementTree.TreeBuilder):
    """Refuses what is nested too deep while it is read."""

    def __init__(self) -> None:
        super().__init__(insert_comments=True)
        self._depth = 0

    def start(self, tag, attributes):
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError(f'more than {_DEEPEST} levels of nesting')
        return super().start(tag, attributes)

    def end(self, tag):
        self._depth -= 1
        return super().end(tag)


def parse_xml(data: bytes) -> ElementTree.Element:
    """The root of an XML file.

    Raises:
        ValueError: it is malformed, or has what can make it grow; the message does not name the file.
    """
    # Entity declarations can make a small file expand to gigabytes, and no file of labels needs any. Expat takes no
    # encoding in which these bytes would look different but UTF-16, which has NUL bytes.
    if b'<!DOCTYPE' in data or b'<!ENTITY' in data or b'\0' in data:
        raise ValueError('document types, entity declarations and UTF-16 are refused. Save it as plain XML in UTF-8.')
    try:
        return ElementTree.fromstring(data, ElementTree.XMLParser(target=_Builder()))
    except Exception as error:  # a parse error, or what the codec of the encoding that it declares raises
        raise ValueError(f'malformed XML ({error}). Fetch the file again or correct it.') from None
