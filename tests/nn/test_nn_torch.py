"""The sparse layer in torch: gradients, optimizers, copies, files, and one budget for a network."""

import copy
import gc
import io

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sparsenum.nn.torch import SparseLinear, exchange, sparsify  # noqa: E402


def dense_of(layer):
    weight = torch.tensor(layer.weight.to_dense(), requires_grad=True)
    bias = None if layer.bias is None else layer.bias.detach().clone().requires_grad_(True)
    return weight, bias


def network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(20, 32), torch.nn.ReLU(), torch.nn.Linear(32, 16), torch.nn.Linear(16, 4)
    )


@pytest.mark.parametrize("shape", [(5, 13), (2, 3, 13), (13,), (0, 13)])
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_are_those_of_a_dense_layer(shape, bias):
    layer = SparseLinear(13, 7, density=0.4, bias=bias)
    torch.manual_seed(0)
    x = torch.randn(shape, requires_grad=True)
    weight, b = dense_of(layer)
    twin = x.detach().clone().requires_grad_(True)
    expected = torch.nn.functional.linear(twin, weight, b)
    slopes = torch.randn_like(expected)
    found = layer(x)
    found.backward(slopes)
    expected.backward(slopes)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(x.grad, twin.grad)
    rows, columns = torch.tensor(layer.weight.rows), layer.indices.long()
    torch.testing.assert_close(layer.values.grad, weight.grad[rows, columns])
    if bias:
        torch.testing.assert_close(layer.bias.grad, b.grad)


def test_what_is_written_to_before_backward_is_an_error():
    layer = SparseLinear(6, 4, density=0.5)
    x = torch.randn(3, 6).T.contiguous().T.requires_grad_(True)  # by columns: not copied
    y = layer(x).sum()
    with torch.no_grad():
        x += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_a_second_derivative_is_refused():
    layer = SparseLinear(6, 4, density=0.5)
    x = torch.randn(3, 6, requires_grad=True)
    (slope,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@pytest.mark.parametrize("rule", ["erk", "uniform", "uniform+", "erk+"])
@pytest.mark.parametrize("start", ["random", "magnitude"])
def test_a_network_keeps_one_exact_budget_through_training(rule, start):
    density = 0.7 if rule == "uniform+" else 0.25  # the first layer alone is half of all
    net = sparsify(network(), density, rule, start=start)
    total = round(density * (20 * 32 + 32 * 16 + 16 * 4))
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    x = torch.randn(64, 20)
    target = x[:, :4].argmax(dim=1)
    losses = []
    for step in range(60):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 10 == 9:
            assert exchange(net, step / 60, optimizer) > 0 or step > 10
        sparse = [layer for layer in net if isinstance(layer, SparseLinear)]
        assert sum(layer.values.numel() for layer in sparse) == total
        for layer in sparse:
            assert optimizer.state[layer.values]["exp_avg"].shape == layer.values.shape
    assert losses[-1] < 0.7 * losses[0]


def test_newborns_are_zero_and_remembered_as_zero():
    layer = SparseLinear(20, 6, density=0.5)
    optimizer = torch.optim.Adam(layer.parameters(), 0.01)
    layer(torch.randn(8, 20)).square().sum().backward()
    optimizer.step()
    places = zip(layer.weight.rows, layer.weight.indices.tolist(), strict=True)
    before = dict(zip(places, layer.values.tolist(), strict=True))
    grown = exchange(layer, 0.0, optimizer)
    places = list(zip(layer.weight.rows, layer.weight.indices.tolist(), strict=True))
    fresh = [k for k, place in enumerate(places) if layer.values[k] == 0]
    assert len(fresh) == grown == 18
    assert not optimizer.state[layer.values]["exp_avg"][fresh].any()
    for k, place in enumerate(places):
        if k not in fresh:
            assert before[place] == layer.values[k]


def test_copies_files_and_new_layers_stand_on_their_own():
    layer = SparseLinear(20, 6, density=0.5)
    x = torch.randn(8, 20, requires_grad=True)
    layer(x).sum().backward()
    twin = copy.deepcopy(layer)
    exchange(layer, 0.0)
    assert not torch.equal(twin.indices, layer.indices)
    other = SparseLinear(20, 6, density=0.5, seed=5)
    other(x).sum().backward()  # its transpose is that of another pattern
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file))
    x.grad = None
    other(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor(layer.weight.to_dense()).sum(0).expand(8, 20))
    torch.testing.assert_close(other(x), layer(x))


def test_layers_made_after_others_are_gone_have_transposes_of_their_own():
    x = torch.randn(4, 30, requires_grad=True)
    for n_out in (5, 9, 3, 7):
        layer = SparseLinear(30, n_out, density=0.3, seed=n_out)
        x.grad = None
        layer(x).sum().backward()
        expected = torch.tensor(layer.weight.to_dense()).sum(0).expand(4, 30)
        torch.testing.assert_close(x.grad, expected)
        del layer
        gc.collect()


def test_one_layer_is_sparsified_and_names_stay_dense():
    assert isinstance(sparsify(torch.nn.Linear(10, 5), 0.3), SparseLinear)
    net = sparsify(network(), 0.25, dense=["3"])
    assert isinstance(net[3], torch.nn.Linear)
    assert isinstance(net[0], SparseLinear)
    kept = sparsify(network(), 0.25, "uniform", start="magnitude")
    weights = network()[0].weight.detach().numpy()
    largest = np.sort(np.abs(weights), axis=1)[:, -5:].min(axis=1)
    assert (np.abs(kept[0].weight.data) >= largest[kept[0].weight.rows]).all()


def test_what_does_not_fit_is_refused():
    layer = SparseLinear(6, 4, density=0.5)
    with pytest.raises(TypeError, match="x must be float32 on the CPU: got "):
        layer(torch.zeros(2, 6, dtype=torch.float64))
    with pytest.raises(ValueError, match="x must have rows of 6 numbers: got 5"):
        layer(torch.zeros(2, 5))
    with pytest.raises(ValueError, match="exchange must have a gradient"):
        exchange(SparseLinear(20, 4, density=0.5), 0.0)
    with pytest.raises(ValueError, match="model must have a torch"):
        sparsify(torch.nn.ReLU(), 0.5)
    with pytest.raises(ValueError, match="dense must name linear layers"):
        sparsify(network(), 0.5, dense=["7"])
    assert "weights=12, density=0.5" in repr(layer)
