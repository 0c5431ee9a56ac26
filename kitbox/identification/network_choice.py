"""The networks that a catalogue is searched with unless the user names some."""

from dataclasses import dataclass

from kitbox.errors import KitboxError
from kitbox.plugin import discovery
from kitbox.plugin.discovery import NamedPlugin
from kitbox.training import runs
from kitbox.weights import weight_source
from kitbox.workspace import Workspace

# Frozen networks, the best for animals that no network here was trained on first: of networks for
# animals by Otarashvili et al. (arXiv 2412.05602), then general ones, then one of ImageNet alone.
PREFERRED = (
    "miewid_msv3_440",
    "megadescriptor_l_384",
    "megadescriptor_t_224",
    "dinov3_base_256",
    "dinov2_base_518",
    "tf_efficientnet_lite0_224_frozen",
)


@dataclass(frozen=True, kw_only=True)
class NetworkChoice:
    """The plugin that is used, why, and the `better` ones that are not installed."""

    name: str
    reason: str
    better: tuple[NamedPlugin, ...] = ()

    @property
    def sentences(self) -> list[str]:
        """What was chosen, and what would be better."""
        found = [f"network: {self.name}, {self.reason}"]
        if self.better:
            shown = ", ".join(
                f"{named.name} (licence {named.terms.licence})" for named in self.better
            )
            found.append(
                f"better, and taken once their weights are here: {shown}; the file of each plugin "
                "says where to get and to put them, and 'kitbox plugins' lists all"
            )
        return found


def choose(workspace: Workspace) -> NetworkChoice:
    """Return the newest plugin that was trained in a workspace, else the best one installed.

    Installed are frozen plugins whose weights are found without a download; plugins of the user
    come before those of kitbox. Raises KitboxError where there is none.
    """
    found, _ = discovery.load_all(workspace)
    derived, _ = discovery.load_all(workspace, discovery.derived_names(workspace))
    trained = {
        named.name: checkpoint
        for named in (*found, *derived)
        if not named.plugin.frozen
        for checkpoint in [runs.newest(workspace, named, "holdout")]
        if checkpoint is not None
    }
    if trained:
        newest = max(trained, key=lambda name: trained[name].path.stat().st_mtime_ns)
        return NetworkChoice(name=newest, reason="which was trained in this workspace")
    frozen = {named.name: named for named in found if named.plugin.frozen}
    own = [named for name, named in frozen.items() if name not in PREFERRED]
    preferred = [frozen[name] for name in PREFERRED if name in frozen]
    missing: list[NamedPlugin] = []
    for named in (*own, *preferred):
        source = weight_source.installed_source(
            named.plugin.weights, named.plugin.backbone, workspace.weights
        )
        if source is None:
            missing += [named] if named in preferred else []
            continue
        name = named.name
        if source != named.plugin.weights:
            name += f"{',' if '@' in name else '@'}weights={source}"
        return NetworkChoice(
            name=name,
            reason="the best of those installed" if missing else "the first choice",
            better=tuple(missing),
        )
    best = missing[0] if missing else None
    raise KitboxError(
        f"there are no weights of a network in {workspace.weights}, nor in the cache of the hub",
        fix=(
            "install kitbox[demo] for a small one"
            + (f", or put the weights of {best.name} there: {best.terms.source}" if best else "")
            + "; or set KITBOX_WEIGHTS to the folder that has them"
        ),
    )
