"""The registries of sarlp. MMEngine looks for this module by name when a config says ``default_scope = 'sarlp'``.

Every registry but :data:`LABEL_MASKS` and :data:`METHODS` is a child of MMEngine's registry of the same name, so a
config reaches parts of other libraries by prefix (``mmpretrain.ResNet``) and MMEngine's own parts without one
(``EMAHook``).
"""

from mmengine import registry as root
from mmengine.registry import Registry

SCOPE = 'sarlp'

MODELS = Registry('model', parent=root.MODELS, scope=SCOPE, locations=['sarlp.models', 'sarlp.losses'])
DATASETS = Registry('dataset', parent=root.DATASETS, scope=SCOPE, locations=['sarlp.datasets'])
TRANSFORMS = Registry('transform', parent=root.TRANSFORMS, scope=SCOPE, locations=['sarlp.transforms'])
METRICS = Registry('metric', parent=root.METRICS, scope=SCOPE, locations=['sarlp.evaluation'])
HOOKS = Registry('hook', parent=root.HOOKS, scope=SCOPE, locations=['sarlp.engine'])
PARAM_SCHEDULERS = Registry(
    'parameter scheduler', parent=root.PARAM_SCHEDULERS, scope=SCOPE, locations=['sarlp.engine']
)
LOOPS = Registry('loop', parent=root.LOOPS, scope=SCOPE, locations=['sarlp.engine'])
DATA_SAMPLERS = Registry('data sampler', parent=root.DATA_SAMPLERS, scope=SCOPE, locations=['sarlp.engine'])
OPTIM_WRAPPERS = Registry('optimizer wrapper', parent=root.OPTIM_WRAPPERS, scope=SCOPE, locations=['sarlp.engine'])
RUNNERS = Registry('runner', parent=root.RUNNERS, scope=SCOPE, locations=['sarlp.engine'])
VISBACKENDS = Registry('vis_backend', parent=root.VISBACKENDS, scope=SCOPE, locations=['sarlp.engine'])
LABEL_MASKS = Registry('label mask', scope=SCOPE, locations=['sarlp.datasets'])
METHODS = Registry('method', scope=SCOPE, locations=['sarlp.methods'])

# Nothing of other kinds is defined here. MMEngine still wants a child under the default scope, and warns without one.
for _parent in [value for value in vars(root).values() if isinstance(value, Registry)]:
    if SCOPE not in _parent.children:
        Registry(_parent.name, parent=_parent, scope=SCOPE)
