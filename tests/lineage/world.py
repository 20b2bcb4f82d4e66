"""A small experiment in a store, made through the same contexts and manifests as a real one, without running its stages."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from factory.context import Context
from factory.evaluation.records import ANSWER, MODES, Reply, answer_record
from factory.evaluation.scores import score
from factory.records import Record, derive, new_record
from factory.schemas import CONVERSATION, PROBLEM
from factory.spec import InputSpec, JobSpec
from factory.store.local import LocalStore
from factory.store.manifest import Manifest, Upstream, content_digest, identity
from factory.tokens.shards import INDEX
from factory.training.outputs import EXPOSURE

Fill = Callable[[Context], None]
BEGINNING = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass
class World:
    """Makes versions in order, each a minute after the one before, and points the experiment to them."""

    store: LocalStore
    experiment: str = "smoke"
    latest: dict[str, Manifest] = field(default_factory=dict)
    minutes: int = 0

    def make(self, asset: str, fill: Fill, inputs: tuple[str, ...] = (), **options: Any) -> Manifest:
        section, code, seed = options.get("section", {}), options.get("code_version", 1), options.get("seed", 0)
        read = [self.latest[name] for name in inputs]
        version = identity(
            asset, code_version=code, section=section, seed=seed, source_version=None, inputs={m.asset: m.digest for m in read}
        )
        attempt = self.store.begin(asset, version)
        paths = {m.asset: InputSpec(asset=m.asset, version=m.version, digest=m.digest, path=str(self.store.outputs(m))) for m in read}
        spec = JobSpec(key=attempt.key, asset=asset, run="", section=section, seed=seed or 0, inputs=paths, folder=str(attempt.folder))
        context = Context.of(spec)
        fill(context)
        result = context.result()
        self.minutes += 1
        manifest = Manifest(
            asset=asset,
            version=version,
            digest=content_digest(result.outputs),
            code_version=code,
            section=section,
            seed=seed,
            source_version=None,
            inputs=[Upstream(asset=m.asset, version=m.version, digest=m.digest) for m in read],
            attempt=attempt.number,
            started=BEGINNING.isoformat(),
            ended=(BEGINNING + timedelta(minutes=self.minutes)).isoformat(),
            seconds=2.0,
            where={},
            commit=options.get("commit", "abc123"),
            packages={"torch": "2"},
            **result.model_dump(include={"outputs", "counts", "metrics", "cost", "seeds"}),
            cpu_seconds=1.5,
            peak_rss_bytes=1000,
        )
        self.latest[asset] = self.store.commit(attempt, manifest)
        self.store.point(self.experiment, asset, version)
        return self.latest[asset]


def document(number: int, text: str = "") -> Record:
    return new_record(source="web", locator=f"page/{number}", text=text or f"page {number}", kind="document", created_by="raw@1")


def records(name: str, rows: list[Record], *schema: Any) -> Fill:
    return lambda context: (context.write_records(name, rows, *schema), context.keep(len(rows)))[0]


def file(name: str, text: str = "{}") -> Fill:
    def write(context: Context) -> None:
        (context.out / name).write_text(text)
        context.add_file(name)

    return write


def checkpoint(weights: str, exposure: list[Record]) -> Fill:
    def write(context: Context) -> None:
        for folder in ("mcore", "hf"):
            (context.out / folder).mkdir()
            (context.out / folder / "weights").write_text(weights)
        context.add_checkpoint("mcore", digest=weights, tokens=100)
        context.add_file("hf")
        context.write_records("exposure", exposure, EXPOSURE)
        context.metrics["loss"] = len(weights)

    return write


def span(asset: str, steps: tuple[int, int], items: list[int]) -> Record:
    return {"asset": asset, "first_step": steps[0], "last_step": steps[1], "items": items, "rows": len(items), "tokens": 8 * len(items)}


def evaluation(name: str, problems: list[Record], solved: int) -> Fill:
    def write(context: Context) -> None:
        rows = {
            mode: [
                answer_record(
                    p,
                    Reply("So 1", 2, True),
                    checkpoint=name,
                    mode=mode,
                    kind="benchmark_answer",
                    family="list",
                    correct=n < solved,
                    style="brief",
                )
                for n, p in enumerate(problems)
            ]
            for mode in MODES
        }
        context.write_records("answers", [row for mode in MODES for row in rows[mode]], ANSWER)
        context.write_json("scores.json", {mode: score(rows[mode]) for mode in MODES})

    return write


def problem(number: int) -> Record:
    own = {"family": "list", "answer": "1", "steps": [], "solution": ""}
    return new_record(
        source="problems", locator=f"bench/{number}", text=f"What is {number}?", kind="problem", created_by="benchmarks@1", **own
    )


def small_world(store: LocalStore) -> World:
    """Four pages, of which page 3 is dropped; passages of 0 and 1; a rewrite of each; two shards; three checkpoints."""
    world = World(store)
    pages = [document(n) for n in range(4)]
    clean = [derive(page, text=page["text"].upper(), created_by="clean@1") for page in pages[:3]]
    passages = [derive(page, text=page["text"][:4] + str(n), created_by="seeds@1", kind="passage") for n, page in enumerate(clean[:2])]
    rewrites = [derive(p, text=f"About {p['text']}", created_by="rewrite@1 procedural", kind="exercise") for p in passages]
    world.make("raw_documents/web", records("documents", pages), seed=None)
    world.make("clean_documents", records("documents", clean), ("raw_documents/web",), section={"share": 0.5})
    problems = [problem(n) for n in range(40)]
    world.make("benchmarks", records("problems", problems, PROBLEM))
    world.make("seed_passages", records("passages", passages), ("clean_documents",), section={"least": 1})
    world.make(
        "web_rewrites",
        records("documents", rewrites),
        ("seed_passages",),
        section={"teacher": {"kind": "procedural", "model": "procedural-teacher"}},
    )
    world.make("tokenizer", file("spec.json"), ("clean_documents",))
    for cluster, rows, source in (("web", clean, "clean_documents"), ("web_rewrites", rewrites, "web_rewrites")):
        index = [{"document": n, "record": row["id"], "tokens": 7 + n} for n, row in enumerate(rows)]
        world.make(f"token_shards/{cluster}", records("index", index, INDEX), ("tokenizer", source))
    shards = ("token_shards/web", "token_shards/web_rewrites")
    seen = [
        span("token_shards/web", (1, 5), [0, 1, 2]),
        span("token_shards/web_rewrites", (1, 5), [1]),
        span("token_shards/web_rewrites", (6, 9), [1, 1]),
    ]
    world.make("pretrained_checkpoint", checkpoint("base", seen), ("tokenizer", *shards), section={"lr": 0.1})
    world.make("midtrained_checkpoint", checkpoint("middle", []), ("tokenizer", "pretrained_checkpoint"))
    chats = [
        derive(row, text="chat", created_by="sft@1", kind="chat", domain="math", messages=[{"role": "user", "content": "hi"}])
        for row in rewrites[:1]
    ]
    world.make("sft_conversations", records("conversations", chats, CONVERSATION), ("web_rewrites",))
    world.make(
        "sft_checkpoint",
        checkpoint("chatty", [span("sft_conversations", (2, 3), [0])]),
        ("tokenizer", "midtrained_checkpoint", "sft_conversations"),
    )
    for name, solved in (("pretrained_checkpoint", 5), ("midtrained_checkpoint", 5), ("sft_checkpoint", 30)):
        world.make(f"evaluation/{name}", evaluation(name, problems, solved), ("tokenizer", name, "benchmarks"))
    world.make("model_card", file("README.md", "# card"), ("sft_checkpoint",))
    return world


def home(path: Path) -> World:
    """The small world in the store of a workspace at `path`."""
    return small_world(LocalStore(path / "store"))
