"""Zeroth-order search over the heaters of a grid of cores: ZCD, ZTP and ZGD over any least-squares objective.

All cores are searched together and independently. One epoch of each method is one function, of `METHODS`. It is made of
`STEPS`, which say which sweeps over heaters are to be done: `together` does those of several layers at once. Sources:
L2ight (NeurIPS 2021) sections 3.2-3.3 and its public reference (spec sections c, d).

    zcd  coordinate descent: phi + lr if that lowers the loss, else phi - lr, unseen
    ztp  ternary probing: the best of phi - lr, phi, phi + lr
    zgd  gradient descent on g = mean of delta (L(phi + delta) - L(phi)) over Gaussian delta, with momentum
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import wraps

import numpy as np

from l2sim.backend import Array, like, namespace
from l2sim.chip.fused import spread
from l2sim.chip.fused.descent import Sweep
from l2sim.chip.grid import arrays, fused, respond
from l2sim.chip.nonidealities import even_step
from l2sim.chip.protocol import PARTS, Hardware
from l2sim.mesh.reference import compact_order

HOST = ("threshold", "polished")
"""The arrays of a state that steer the search; they stay on the host whatever the device."""
NUDGE = 0.01
"""What a restart adds to every phase, rad."""
STEP = even_step(8)
"""Smallest step on a chip with continuous phases, rad."""


@dataclass(frozen=True)
class Problem:
    """Minimise L = mean_ab (o_a gain_b R_ab - T_ab)^2 per core, R being the response that the readout shows.

    `gain` (p, q, k), `target` (p, q, k, k); `outputs` (p, q, k): the o above, 0 for an output that nobody reads and 1
    for the others (all, where there is none). With the `power` readout amplitudes are compared, |R| with |T|; with
    `field` R is complex.
    """

    hardware: Hardware
    gain: Array
    target: Array
    readout: str = "quadrature"
    outputs: Array | None = None

    def loss(self) -> Array:
        """One evaluation of every core, (p, q)."""
        seen, target = respond(self.hardware, self.readout), self.target
        if self.readout == "power":
            seen, target = np.sqrt(np.maximum(seen, 0.0)), np.abs(target)
        if self.outputs is not None:
            seen = self.outputs[:, :, :, None] * seen
        missing = self.gain[:, :, None, :] * seen - target
        if self.readout == "field":
            missing = np.abs(missing)
        loss: Array = (missing**2).mean(axis=(-1, -2))
        return loss


@dataclass(frozen=True)
class Search:
    """How to search. `lr` and `floor` in rad; the step of a core in its epoch e is max(lr decay^e, floor).

    `threshold`: with `adaptive`, cores whose error is above it after an epoch start their schedule again and get all
    phases nudged. `error_scale` (p, q) turns a loss into that error. `order`: heaters are visited as "published"
    (`shuffle`d every epoch, or not), or column by column, "layer", which is cheap without noise. `legacy`:
    "calibrate" or "map" reproduces what the reference does in that stage, faults included (spec section m); golden
    data only.
    """

    method: str
    lr: float = 0.1
    decay: float = 0.99
    floor: float = STEP
    best_record: bool = True
    adaptive: bool = False
    threshold: float = 0.09
    threshold_growth: float = 1.0
    error_scale: Array | float = 1.0
    order: str = "published"
    shuffle: bool = False
    sigma: float = 0.1
    samples: int = 3
    momentum: float = 0.9
    legacy: str = ""


@dataclass
class State:
    """Where a search stands: arrays only, so that a checkpoint can hold it.

    `u`, `v` commanded phases (p, q, C, k - 1); `loss` the last reading and `best` the lowest (p, q); `best_u`, `best_v`
    the phases of the lowest; `clock` epochs since the last restart and `lr` the step (p, q); `threshold` () of
    restarts; `stale` (p, q) losses that only the reference would go on with; `polished` () closing epochs done;
    `momentum_u`, `momentum_v` of ZGD.
    """

    u: Array
    v: Array
    loss: Array
    best: Array
    best_u: Array
    best_v: Array
    clock: Array
    lr: Array
    threshold: Array
    stale: Array
    polished: Array = field(default_factory=lambda: np.zeros((), np.int64))
    momentum_u: Array = field(default_factory=lambda: np.zeros(()))
    momentum_v: Array = field(default_factory=lambda: np.zeros(()))

    def phases(self, best: bool = False) -> dict[str, Array]:
        """The phases of both meshes by part, the last or the best ones."""
        return {"u": self.best_u, "v": self.best_v} if best else {"u": self.u, "v": self.v}

    def arrays(self) -> dict[str, Array]:
        """Everything, by name."""
        return {name: getattr(self, name) for name in FIELDS}


FIELDS = tuple(item.name for item in fields(State))
"""Names of all that a `State` holds."""


def start(problem: Problem, search: Search, phases: dict[str, Array]) -> State:
    """Command `phases` (p, q, C, k - 1) of both meshes, and begin a search there with the loss that they give."""
    problem.hardware.set_phases(**phases)
    loss = problem.loss()
    xp = arrays(problem.hardware)
    state = State(
        u=phases["u"].copy(), v=phases["v"].copy(), loss=loss, best=loss.copy(),
        best_u=phases["u"].copy(), best_v=phases["v"].copy(), clock=xp.zeros(loss.shape, np.int64),
        lr=xp.full(loss.shape, search.lr), threshold=np.array(search.threshold), stale=xp.zeros(loss.shape, bool),
    )  # fmt: skip
    if search.method == "zgd":
        state.momentum_u, state.momentum_v = np.zeros_like(state.u), np.zeros_like(state.v)
    return state


Steps = Iterator[Sweep]
"""An epoch on the way: what it asks for is to be done before it goes on."""
Method = Callable[[Problem, Search, State, np.random.Generator], None]
"""An epoch of one layer."""


def together(epochs: Iterable[Steps]) -> None:
    """Epochs of several layers. One after the other as far as nobody gains by waiting; then sweeps of all of them that
    can be done in one launch."""
    epochs = list(epochs)
    while epochs:
        waiting = []
        for one in epochs:
            for sweep in one:
                if sweep.kind is not None:
                    waiting.append((one, sweep))
                    break
                spread.do([sweep])
        spread.do([sweep for _, sweep in waiting])
        epochs = [one for one, _ in waiting]


def zcd_steps(problem: Problem, search: Search, state: State, rng: np.random.Generator) -> Steps:
    """One epoch of coordinate descent: every heater of U, then every heater of V, in the same order."""
    yield from _coordinates("zcd", problem, search, state, rng)
    _next_epoch(problem, search, state)


def ztp_steps(problem: Problem, search: Search, state: State, rng: np.random.Generator) -> Steps:
    """One epoch of ternary probing: every heater of U, then every heater of V, in the same order."""
    yield from _coordinates("ztp", problem, search, state, rng)
    if search.legacy == "calibrate":
        # The reference's schedule lags an epoch: the first two epochs both use lr.
        state.lr[:] = np.maximum(search.lr * search.decay**state.clock, search.floor)
        state.clock += 1
    else:
        _next_epoch(problem, search, state)


def zgd_steps(problem: Problem, search: Search, state: State, rng: np.random.Generator) -> Steps:
    """One epoch of gradient descent: n steps, each of `samples` perturbations of all phases and one reading more."""

    def draw() -> tuple[Array, Array]:
        return (
            like(state.u, search.sigma * rng.standard_normal(state.u.shape) * problem.hardware.mesh.mask),
            like(state.v, search.sigma * rng.standard_normal(state.v.shape) * problem.hardware.mesh.mask),
        )

    yield from ()
    gradient_steps(problem, search, state, draw)
    _next_epoch(problem, search, state)


STEPS: dict[str, Callable[[Problem, Search, State, np.random.Generator], Steps]] = {
    "zcd": zcd_steps, "ztp": ztp_steps, "zgd": zgd_steps,
}  # fmt: skip


def _whole(steps: Callable[[Problem, Search, State, np.random.Generator], Steps]) -> Method:
    """The epoch of one layer that is made of `steps`."""

    @wraps(steps)
    def epoch(problem: Problem, search: Search, state: State, rng: np.random.Generator) -> None:
        together([steps(problem, search, state, rng)])

    return epoch


METHODS = {name: _whole(steps) for name, steps in STEPS.items()}
zcd, ztp, zgd = METHODS.values()


def gradient_steps(problem: Problem, search: Search, state: State, draw: Callable[[], tuple[Array, Array]]) -> None:
    """The n steps of a ZGD epoch; `draw` gives the perturbations (delta_u, delta_v) of one sample."""
    momentum = {"u": state.momentum_u, "v": state.momentum_v}
    for _ in range(problem.hardware.mesh.count):
        phases, gradient = state.phases(), {part: np.zeros_like(momentum[part]) for part in PARTS}
        for _ in range(search.samples):
            delta = dict(zip(PARTS, draw()))
            problem.hardware.set_phases(**{part: phases[part] + delta[part] for part in PARTS})
            rise = (problem.loss() - state.loss)[:, :, None, None]
            for part in PARTS:
                gradient[part] += delta[part] * rise / search.samples
        for part in PARTS:
            momentum[part] *= search.momentum
            momentum[part] += state.lr[:, :, None, None] * gradient[part]
            phases[part] -= momentum[part]
        problem.hardware.set_phases(**phases)
        state.loss = problem.loss()
        _record(state, search, PARTS)


def _coordinates(rule: str, problem: Problem, search: Search, state: State, rng: np.random.Generator) -> Steps:
    """One epoch of descent over both meshes by the rule "zcd" or "ztp", without the schedule that follows."""
    mesh, by_column = problem.hardware.mesh, search.order == "layer"
    order = compact_order(mesh)
    if search.shuffle and not by_column:
        order = order[rng.permutation(order.size)]
    for part in PARTS:
        if by_column:
            order = there_and_back(mesh.columns, rng)
        yield from _descent(rule, problem, state, part, order, search.legacy == "calibrate", by_column)
        if not search.legacy:
            _record(state, search, PARTS)
        elif rule == "zcd" and search.legacy == "calibrate":
            # The reference judges U and V at different moments, so its best pair need not have existed.
            _record(state, search, (part,))
    if search.legacy and (rule == "ztp" or search.legacy == "map"):
        _record(state, search, PARTS)


def there_and_back(columns: int, rng: np.random.Generator) -> Array:
    """Each column once, (C,): a coin decides whether on the way there or on the way back.

    Always going one way ends worse than a random permutation of heaters; this does not, and from one column to the next
    it is never far.
    """
    there, every = rng.random(columns) < 0.5, np.arange(columns)
    return np.concatenate((every[there], every[~there][::-1]))


def descend(
    rule: str, problem: Problem, state: State, part: str, order: Array, legacy: bool = False, by_column: bool = False
) -> None:
    """Visit every heater of one part once, in `order`: heaters in travel order, or columns from sigma on if
    `by_column`. Updates phases and losses of `state`.

    Takes the hardware's fused descent where it has one for this readout, else single probes.
    """
    together([_descent(rule, problem, state, part, order, legacy, by_column)])


def _descent(
    rule: str, problem: Problem, state: State, part: str, order: Array, legacy: bool, by_column: bool
) -> Steps:
    """`descend`."""
    hardware, phases = problem.hardware, state.phases()[part]
    hardware.set_phases(**{part: phases})
    if fused(hardware, "sweep", problem.readout) and not (legacy and rule == "ztp"):
        sweep = hardware.sweep(  # type: ignore[attr-defined]
            part, rule, problem.gain, problem.target, order, state.lr, state.loss, state.stale, by_column,
            problem.outputs, readout=problem.readout,
        )  # fmt: skip
        yield sweep
        _, state.loss = hardware.swept(sweep, phases)  # type: ignore[attr-defined]
    else:
        order = hardware.mesh.by_column(part, order) if by_column else order
        state.loss = _probe_by_probe(rule, problem, phases, state.lr, state.loss, part, order, legacy)
    if part == "v":
        state.stale[:] = False


def _probe_by_probe(
    rule: str, problem: Problem, phases: Array, lr: Array, here: Array, part: str, order: Array, legacy: bool
) -> Array:
    """One epoch of descent over one mesh by single readings; changes `phases` and returns the last losses (p, q)."""
    mesh = problem.hardware.mesh

    def read() -> Array:
        problem.hardware.set_phases(**{part: phases})
        return problem.loss()

    for i in order:
        at = (..., mesh.column[i], mesh.rail[i])
        stay = phases[at].copy()
        up = stay + lr
        down = up - 2 * lr
        phases[at] = up
        plus = read()
        if rule == "zcd":
            phases[at] = np.where(plus < here, up, down)
            here = read()
            continue
        phases[at] = down
        minus = read()
        choice = np.argmin(np.stack([minus, here, plus]), axis=0)
        if legacy:
            # The reference adds its choice to phi - lr in single precision.
            stay, up = down + np.float32(lr), down + np.float32(2 * lr)
        phases[at] = np.where(choice == 0, down, np.where(choice == 1, stay, up))
        here = np.where(choice == 0, minus, np.where(choice == 1, here, plus))
    problem.hardware.set_phases(**{part: phases})
    return here


def _record(state: State, search: Search, parts: tuple[str, ...]) -> None:
    """Keep the phases of `parts` wherever the loss is the lowest so far (everywhere without `best_record`)."""
    better = state.loss < state.best if search.best_record else np.ones_like(state.loss, bool)
    for part in parts:
        best, now = state.phases(best=True)[part], state.phases()[part]
        if namespace(best) is np:  # a core whole, which is faster than number by number
            best, now = (a.reshape(*better.shape, -1).view(f"V{a[0, 0].nbytes}")[..., 0] for a in (best, now))
            np.copyto(best, now, where=better)
        else:
            np.copyto(best, now, where=better[..., None, None])
    np.copyto(state.best, state.loss, where=better)


def _next_epoch(problem: Problem, search: Search, state: State) -> None:
    """Advance the schedules; with `adaptive`, start cores with a large error again."""
    state.clock += 1
    state.lr[:] = np.maximum(search.lr * search.decay**state.clock, search.floor)
    if search.adaptive:
        far = state.loss * search.error_scale > float(state.threshold)
        state.clock[far] = 0
        if far.any():
            for part in PARTS:
                phases = state.phases()[part]
                phases += NUDGE * like(far, problem.hardware.mesh.mask) * far[:, :, None, None]
            if search.legacy == "map":
                # The reference goes on with the losses and matrices from before the nudge.
                state.stale[:] = far
            else:
                before = {"v": state.v - NUDGE * far[:, :, None, None]}
                problem.hardware.set_phases(**state.phases())
                state.loss = problem.loss()
                if search.legacy:
                    # The reference visits U next while V still has the phases from before the nudge.
                    problem.hardware.set_phases(**before)
                    state.stale[:] = far
        state.threshold *= search.threshold_growth
        if search.legacy != "map":  # The reference's restarted cores get their large step an epoch late when mapping.
            state.lr[far] = np.maximum(search.lr, search.floor)


def polish_steps(problem: Problem, search: Search, state: State, rng: np.random.Generator) -> Steps:
    """One closing epoch: ternary probing, which takes no step for the worse, from the best phases of the search.

    ZCD has to move every heater at least by one level of the drive, so its last state jitters around a minimum that it
    never settles in.
    """
    if state.polished == 0:
        state.u[:], state.v[:] = state.best_u, state.best_v
        problem.hardware.set_phases(**state.phases())
        state.loss = problem.loss()
    yield from _coordinates("ztp", problem, search, state, rng)
    state.polished += 1


polish = _whole(polish_steps)


def searched(state: State, epochs: int, done: int) -> bool:
    """Whether every core has had its `epochs` since its last restart; at most twice that many in all."""
    return bool((state.clock >= epochs).all()) or done >= 2 * epochs


def restore(saved: Mapping[str, Array], hardware: Hardware | None = None) -> State:
    """The state that `State.arrays` gave, for a search on `hardware`."""
    xp = np if hardware is None else arrays(hardware)
    return State(**{name: (np if name in HOST else xp).array(value) for name, value in saved.items()})
