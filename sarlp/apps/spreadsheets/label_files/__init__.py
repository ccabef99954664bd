"""Labels in the files in which people keep them: read as statements, and written back in the same form.

Each form is a class with ``classes``, ``statements()``, ``rewrite()``, ``place()``, ``habits()`` and ``settings()``;
those that have something to say of what was read also have ``notes()``, and of what was written ``unsaid()``.
"""

from sarlp.apps.spreadsheets.label_files.images import ImageFolder
from sarlp.apps.spreadsheets.label_files.merging import Merged, merge, merge_images
from sarlp.apps.spreadsheets.label_files.opening import FORMS, LabelFile, open_labels, settings_of

__all__ = ['FORMS', 'ImageFolder', 'LabelFile', 'Merged', 'merge', 'merge_images', 'open_labels', 'settings_of']
