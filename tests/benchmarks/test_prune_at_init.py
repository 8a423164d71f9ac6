import prune_at_init
import pytest

from tfprune.criteria import weight_criterion


@pytest.mark.filterwarnings("ignore:layer collapse")
@pytest.mark.slow
def test_the_ways_that_are_compared_give_the_same_masks():
    model = prune_at_init.network("ResNet-20")
    _, ours = prune_at_init.pruned(model, "synflow", iterations=2)
    assert prune_at_init.plain(model, 2, of=2)[1] == ours
    assert weight_criterion("synflow", ignore="fc", iterations=2)(model, 0.3) == ours


@pytest.mark.filterwarnings("ignore:layer collapse")
def test_the_torch_way_is_the_published_one():
    torch = pytest.importorskip("torch")
    import torch_synflow

    torch.manual_seed(0)
    model = torch_synflow.resnet18().double().eval()
    convolutions = [module for module in model.modules() if isinstance(module, torch_synflow.MaskedConv)]
    before = [value.clone() for value in model.state_dict().values()]
    torch_synflow.iteration(model, convolutions, 0.3)
    total = sum(convolution.mask.numel() for convolution in convolutions)
    assert total == 11_159_232
    assert sum(int(convolution.mask.sum()) for convolution in convolutions) == total - int(0.7 * total)
    for old, (name, new) in zip(before, model.state_dict().items(), strict=True):
        assert name.endswith("mask") or torch.equal(old, new)
