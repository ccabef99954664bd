"""Low-rank adapters through PEFT (Hu et al., ICLR 2022)."""

import sys

from torch import nn

from sarlp.errors import UserValueError

# the projections of the attention pool, and the convolutions of every block in stages 2, 3 and 4
CLIP_RESNET_TARGETS = r'attnpool\.[qkvc]_proj|layer[234]\.\d+\.conv[123]'


def add_lora(
    visual: nn.Module,
    r: int = 8,
    alpha: float = 32,
    dropout: float = 0.01,
    targets: str = CLIP_RESNET_TARGETS,
    trained: tuple[str, ...] = ('attnpool.positional_embedding',),
) -> None:
    """Wrap adapters round the layers of a network in place, and freeze everything else but ``trained``.

    Args:
        visual: the network.
        r: rank.
        alpha: the adapter's output is scaled by ``alpha / r``.
        dropout: on the adapter's input, in [0, 1).
        targets: regular expression that the whole name of a layer must match.
        trained: names of parameters that are trained as they are.
    """
    from peft import LoraConfig, inject_adapter_in_model

    if isinstance(trained, str):
        raise UserValueError(f"lora.trained must be a list of names, got {trained!r}; write ['{trained}']")
    if not alpha > 0:
        raise UserValueError(f'lora.alpha must be above 0, got {alpha!r}: the adapters would learn nothing')
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,  # type: ignore[arg-type]  # peft only divides it by r
        lora_dropout=dropout,
        bias='none',
        target_modules=targets,
    )
    inject_adapter_in_model(config, visual)
    for name in trained:
        visual.get_parameter(name).requires_grad_(True)


def merge_adapters(model: nn.Module) -> int:
    """Add every adapter to the weights that it adapts and take it away, in place; the outputs stay as they are.

    The parameters keep being trainable or not. The result has the entries of a model without ``lora``.

    Returns:
        How many adapters there were.
    """
    if 'peft' not in sys.modules:  # whose adapters there would be; the import takes longer than that of torch
        return 0
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    for name, module in adapted:
        module.merge(safe_merge=True)
        parent, _, child = name.rpartition('.')
        setattr(model.get_submodule(parent), child, module.get_base_layer())
    return len(adapted)
