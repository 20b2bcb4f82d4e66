"""How people name a version: `ASSET`, `ASSET@VERSION`, or either of them with another experiment's name in front.

Only the store and the experiment's name are needed for it, so an audit works without looking at sources or the graph, and
still answers for a version whose stage is long gone from the recipe.
"""

from collections.abc import Callable, Collection, Iterable
from difflib import get_close_matches

from factory.errors import SeedmillError
from factory.store.base import Store
from factory.store.manifest import Manifest


def _materialize(_experiment: str, _asset: str) -> str:
    return "materialize it first"


def resolve(
    store: Store,
    experiment: str,
    reference: str,
    graph: Collection[str] = (),
    how_to_make: Callable[[str, str], str] = _materialize,
) -> Manifest:
    """The version that `[EXPERIMENT/]ASSET[@VERSION]` names.

    Without a version it is the one that the experiment materialized last; a version may be cut short as long as it is the
    only one of its asset that begins so. Raises SeedmillError naming what there is instead; of an asset that the experiment has
    not made yet it says `how_to_make(experiment, asset)`, those of the `graph` included that the store knows nothing of.
    """
    name, mark, version = reference.partition("@")
    if mark and not version:
        raise SeedmillError(f"{reference!r} names no version after the @: leave out the @ for the one materialized last")
    if version:
        return _version(store, _asset(store, experiment, name, graph)[1], version)
    owner, asset = _asset(store, experiment, name, graph)
    last = store.pointer(owner, asset)
    manifest = store.manifest(asset, last) if last else None
    if manifest is None:
        raise SeedmillError(f"{asset} was never materialized by experiment {owner!r}: {how_to_make(owner, asset)}")
    return manifest


def before(store: Store, manifest: Manifest) -> Manifest:
    """The version of the same asset that was committed just before this one."""
    older = [found for found in store.versions(manifest.asset) if (found.ended, found.version) < (manifest.ended, manifest.version)]
    if not older:
        raise SeedmillError(f"{manifest.asset} {manifest.version} is the first version of its asset: name another to compare it with")
    return older[-1]


def materialized(store: Store, experiment: str, assets: Iterable[str]) -> list[Manifest]:
    """The versions that an experiment materialized last, of those of `assets` that it has, in their order."""
    pointed = ((asset, store.pointer(experiment, asset)) for asset in assets)
    found = (store.manifest(asset, version) for asset, version in pointed if version)
    return [manifest for manifest in found if manifest]


def _asset(store: Store, experiment: str, name: str, graph: Collection[str]) -> tuple[str, str]:
    """(experiment, asset): an asset's own name may hold slashes, so the store decides where the experiment's name ends."""
    assets = store.assets()
    short = name.removeprefix(f"{experiment}/")
    if short in assets or short in graph:
        return experiment, short
    owner, _, rest = name.partition("/")
    if rest in assets or rest in graph:
        return owner, rest
    near = get_close_matches(short, sorted({*assets, *graph}), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has: {', '.join(assets) or 'nothing yet'}"
    raise SeedmillError(f"no version of an asset {name!r} is in the store; {hint}")


def _version(store: Store, asset: str, prefix: str) -> Manifest:
    exact = store.manifest(asset, prefix)
    if exact:
        return exact
    found = [manifest for manifest in store.versions(asset) if manifest.version.startswith(prefix)]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} versions of {asset} begin" if found else f"no version of {asset} begins"
    raise SeedmillError(f"{what} with {prefix!r}; it has: {', '.join(m.version for m in store.versions(asset)) or 'none'}")
