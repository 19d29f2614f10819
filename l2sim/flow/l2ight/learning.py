"""The last stage of the L2ight flow: samplers and protocol as the job asks, and what the stage says of its cost."""

from __future__ import annotations

from functools import partial

from l2sim.backend import Stream
from l2sim.chip.meter import PASSES
from l2sim.flow.l2ight.session import L2ight
from l2sim.flow.session import Values
from l2sim.flow.training import Ways
from l2sim.job.sections import Learn
from l2sim.learn import counting, protocols, sampling
from l2sim.learn.train import Samples, Step
from l2sim.nn.network import Network
from l2sim.nn.photonic import PhotonicWeight

LEGACY = "learn, legacy rules"
"""What the published program's rules count is metered under this name."""


def attach(network: Network, job: Learn) -> None:
    """Give every layer of `network` the samplers of `job`.

    The first convolution has no error to send back, forgets no pixels, and its columns are sampled only on request.
    """
    for name, weight in network.weights.items():
        assert isinstance(weight, PhotonicWeight)
        if job.forward_sparsity > 0:
            weight.cores = sampling.blocks(job.forward_rule, job.forward_sparsity, job.forward_norm, along=1)
        if job.feedback_sparsity > 0 and name in network.convs:
            weight.feedback = sampling.feedback(job.feedback_rule, job.feedback_sparsity, job.feedback_norm)
        if job.feature_sparsity > 0 and name in network.linears:
            weight.vectors = sampling.features(job.feature_sparsity, job.feature_norm)
        if job.rank > 0 or job.rank_sign:
            weight.rank = sampling.rank(job.rank, job.rank_rule, job.rank_sign)
    for at, conv in enumerate(network.convs.values()):
        if job.column_sparsity > 0 and (at > 0 or job.sample_first_conv):
            conv.columns = sampling.columns(job.column_sparsity, job.column_norm)
        if job.spatial_sparsity > 0 and at > 0:
            conv.spatial = sampling.spatial(job.spatial_sparsity, job.spatial_norm)


def ways(session: L2ight) -> Ways:
    """How the stage is to learn: the objective, and step and samples where they are not those of plain training."""
    job, network = session.job.learn, session.network
    objective, step = session.objective, None
    samples = teacher(session, job.data_sparsity) if job.data_rule == "importance" and job.data_sparsity > 0 else None
    stream: Stream = partial(session.stream, "learn", job.protocol)
    if job.protocol in ("subspace", "dfa"):
        attach(network, job)
        if job.protocol == "dfa":
            objective = protocols.Alignment(network, session.objective, stream)
    elif job.protocol == "pat":
        for name, weight in network.weights.items():
            assert isinstance(weight, PhotonicWeight)
            weight.model = protocols.digital_model(weight, session.aims[name], network.device)
    else:
        step = _blind(session, job, stream)
    return Ways(objective, step, samples)


def teacher(session: L2ight, sparsity: float) -> Samples:
    """Images that the electronic network is least sure of."""
    return sampling.importance(session.electronic, sparsity)


def _blind(session: L2ight, job: Learn, stream: Stream) -> Step:
    """A protocol that knows of the chips only the loss. Their phases stay with the session, for its checkpoints."""
    phases = protocols.Phases(session.network, session.attenuators)
    for name, weight in session.network.weights.items():
        assert isinstance(weight, PhotonicWeight)
        session.mapped[name] = weight.mapped
    if job.protocol == "flops":
        return protocols.Flops(phases, session.objective, job.probe_std, job.probes)
    if job.protocol == "spsa":
        return protocols.Spsa(phases, session.objective, job.probe_std, job.probes)
    coordinates = phases.coordinates(job.frozen_share, stream("coordinates"))
    return protocols.MixedTrn(phases, session.objective, coordinates, job.skipped_share)


class Tally:
    """Counts the images learnt from, and what the published rules make of every step, while the stage goes on."""

    def __init__(self, session: L2ight) -> None:
        self._session, self._legacy = session, session.job.learn.profile == "legacy"
        self._images = 0

    def __call__(self) -> None:
        """After a mini-batch."""
        network, meter = self._session.network, self._session.meter
        self._images += network.batch
        if not self._legacy:
            return
        spent = counting.counts(map(counting.legacy, counting.steps(network, network.batch)))
        for name in PASSES:
            with meter.stage(LEGACY), meter.during(name):
                meter.count(
                    core_calls=spent[f"{name}_core_calls"], accumulation_steps=spent[f"{name}_accumulation_steps"]
                )

    def observe(self) -> dict[str, float]:
        """Scalars of an epoch: images learnt from and offered, and core calls, since the stage began."""
        session, images, self._images = self._session, self._images, 0
        before = {key: int(session.scores.get(key, 0)) for key in ("images", "images_offered")}
        return {
            "images": before["images"] + images,
            "images_offered": before["images_offered"] + int(session.data.train_y.size),
            "core_calls": int(session.meter.spent("learn").core_calls),
            **session.told_cost("learn"),
        }

    def result(self) -> Values:
        """What the report needs to say what was saved."""
        session = self._session
        dense = counting.counts(map(counting.metered, counting.steps(session.network, 1, dense=True)))
        memory = counting.activations(session.network, session.job.learn.batch)
        result: Values = {
            "dense_cost_of_an_image": dense,
            "activation_bytes": memory.kept,
            "activation_bytes_dense": memory.dense,
        }
        if self._legacy:
            result["legacy"] = session.meter.state().get(LEGACY, {})
        return result
