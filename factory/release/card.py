"""The stage `model_card`: what a user must know of the model, written from manifests and never by hand.

Only what two runs of the same recipe have in common goes in. Times, hosts and costs differ from run to run; they are in the
manifests, and the command `report` adds them up.
"""

import json
from collections.abc import Mapping

from factory.context import Context
from factory.evaluation.statistics import share
from factory.release.facts import Facts, percent, table
from factory.store.manifest import Manifest

POST_TRAINING = ("refusals", "sft_conversations", "pivotal_pairs", "judged_pairs")
"""The assets that hold what fine-tuning and preference training learn from."""


def run(context: Context) -> None:
    """Write `README.md`."""
    facts = Facts.of(context)
    sections = (head, evaluation, trivia, gate, usage, sources, curation, mixtures, training, limits, lineage)
    (context.out / "README.md").write_text("\n\n".join(section(facts) for section in sections) + "\n", encoding="utf-8")
    context.add_file("README.md")
    context.made("section", len(sections))


def head(facts: Facts) -> str:
    """The front matter that model hubs read, and what the model is."""
    model = facts.model
    front = f"---\nlicense: {facts.config.license}\nlibrary_name: transformers\npipeline_tag: text-generation\nlanguage: [en]\n---"
    text = (
        f"A {parameters(facts):,}-parameter chat model, trained from scratch by the recipe of Phi-4 in miniature: pretraining on organic "
        "and synthetic text, midtraining on longer context, supervised fine-tuning, preference pairs from pivotal tokens, then a judge.\n\n"
        f"{model['num_hidden_layers']} layers of width {model['hidden_size']}, {model['num_attention_heads']} attention heads over "
        f"{model['num_key_value_heads']} key-value heads, SwiGLU of width {model['intermediate_size']}, {model['vocab_size']:,} token ids, "
        f"{model['max_position_embeddings']:,} tokens of context (rotary base {model['rope_theta']:g}), {model['torch_dtype']} weights."
    )
    return f"{front}\n\n# {facts.config.model_name}\n\n{text}"


def evaluation(facts: Facts) -> str:
    """Accuracy after each stage with its 95% interval, and what each stage changed."""
    found = facts.gate["comparisons"]
    rows = []
    for mode in ("greedy", "sampled"):
        first = found[0][mode]
        rows.append([found[0]["before"], mode, _accuracy(first["before"], first["n"]), "", ""])
        rows += [
            [c["after"], mode, _accuracy(c[mode]["after"], c[mode]["n"]), _change(c[mode]), f"{c[mode]['p_value']:.2g}"] for c in found
        ]
    text = (
        f"Share of {found[0]['greedy']['n']:,} held-out problems answered right, with 95% Wilson intervals. Each stage is compared "
        "with the one before it on the same problems (McNemar's mid-p test)."
    )
    return f"## Evaluation\n\n{text}\n\n" + table(["checkpoint", "decoding", "accuracy", "against the stage before", "p"], rows)


def trivia(facts: Facts) -> str:
    """Correct, not attempted, incorrect on held-out trivia after each stage (the paper's figure 6)."""
    verdicts = ("correct", "not attempted", "incorrect")
    rows = [
        [row["checkpoint"], family, score["n"], *(percent(score[verdict]) for verdict in verdicts)]
        for row in facts.gate["trivia"]
        for family, score in row["families"].items()
    ]
    text = (
        "Held-out trivia, half of it without an answer: there the honest reply is not to attempt one. Greedy; refusals are told by wording."
    )
    return f"## What it does not know\n\n{text}\n\n" + table(["checkpoint", "questions", "n", *verdicts], rows)


def gate(facts: Facts) -> str:
    """The rules of the promotion gate and whether each holds."""
    rows = [
        [r["name"], f"{r['value']:.3f}", f"{r['sense']} {r['threshold']:g}", "yes" if r["holds"] else "**no**"] for r in facts.gate["rules"]
    ]
    verdict = "passed" if facts.gate["passed"] else "did **not** pass"
    return f"## Promotion gate\n\nThe model {verdict} its promotion gate.\n\n" + table(["rule", "value", "must be", "holds"], rows)


def usage(facts: Facts) -> str:
    """How to chat with the model."""
    name = facts.config.model_name
    return f"""## How to chat

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}")
model = AutoModelForCausalLM.from_pretrained("{name}")
chat = [{{"role": "user", "content": "What is 12 + 30?"}}]
inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
answer = model.generate(**inputs, max_new_tokens=96)[0, inputs["input_ids"].shape[1] :]
print(tokenizer.decode(answer, skip_special_tokens=True))
```

With the GGUF file and its Modelfile: `ollama create {name} -f Modelfile`, then `ollama run {name}`; or
`llama-cli -m model.gguf --jinja`. A turn ends with `<|im_end|>`, which is the end of sequence; `<|pad|>` only pads."""


def sources(facts: Facts) -> str:
    """The organic sources with licences and sizes, and who wrote the synthetic text."""
    rows = [
        [m.asset.split("/", 1)[1], m.section["cluster"], m.section["license"], f"{m.counts.kept:,}"] for m in facts.under("raw_documents")
    ]
    written = [m for m in facts.manifests if "teacher" in m.metrics or m.asset in POST_TRAINING]
    teachers = sorted({str(m.metrics["teacher"]) for m in written if "teacher" in m.metrics})
    made = [[m.asset, what, f"{n:,}"] for m in written for what, n in sorted(m.counts.made.items())]
    return (
        "## Data\n\n"
        + table(["source", "cluster", "licence", "documents read"], rows)
        + _own_data(facts)
        + f"\n\nSynthetic text and post-training data; text was written by: {', '.join(teachers) or 'nobody'}.\n\n"
        + table(["asset", "made", "number"], made)
    )


def _own_data(facts: Facts) -> str:
    rows = [
        [m.asset, m.section["domain"], m.section["license"], f"{m.counts.kept:,}", _numbered(m.metrics["languages"])]
        for m in (*facts.under("questions"), *facts.under("chats"))
    ]
    return "\n\n" + table(["questions and chats", "domain", "licence", "rows read", "languages"], rows) if rows else ""


def curation(facts: Facts) -> str:
    """What each stage of curation kept, and why it dropped the rest."""
    names = ("extracted_documents", "filtered_documents", "unique_documents", "clean_documents", "seed_passages")
    found = [facts.find(name) for name in names]
    rows = [[m.asset, f"{m.counts.read:,}", f"{m.counts.kept:,}", _dropped(m)] for m in found]
    return "## Curation\n\n" + table(["asset", "read", "kept", "dropped"], rows)


def mixtures(facts: Facts) -> str:
    """Shares, unique tokens and epochs of both mixtures (the paper's Table 5)."""
    parts = []
    for title, asset in (("Pretraining", "pretraining_blend"), ("Midtraining", "long_context_blend")):
        rows = [
            [c["name"], percent(c["share"]), f"{c['tokens']:,}", f"{c['allocated']:,}", f"{c['epochs']:.2f}"]
            for c in facts.find(asset).metrics["clusters"]
        ]
        parts.append(f"## {title} mixture\n\n" + table(["cluster", "share", "unique tokens", "tokens seen", "epochs"], rows))
    return "\n\n".join(parts)


def training(facts: Facts) -> str:
    """Steps and tokens of each training stage, and the sections of the recipe that shaped it."""
    rows = [
        [m.asset, m.section.get("start_from", "fresh weights"), f"{m.counts.made['steps']:,}", f"{m.counts.made['tokens']:,}", m.seed]
        for m in facts.training()
    ]
    recipe = {m.asset: m.section for m in facts.training()}
    text = json.dumps(recipe, indent=1, sort_keys=True, ensure_ascii=False)
    return (
        "## Training\n\n"
        + table(["stage", "starts from", "steps", "tokens", "seed"], rows)
        + f"\n\n<details><summary>Recipe of the training stages</summary>\n\n```json\n{text}\n```\n\n</details>"
    )


def limits(facts: Facts) -> str:
    """What the model cannot do, as far as the manifests tell."""
    tokens = sum(m.counts.made["tokens"] for m in facts.training())
    lines = [
        f"It saw {tokens:,} tokens in all. At best it answers the kinds of question that it was trained on.",
        f"Its context is {facts.model['max_position_embeddings']:,} tokens; beyond that its output means nothing.",
        "It can state falsehoods with confidence, and its answers have not been examined for bias.",
        "Its refusals of unsafe requests were measured by rules, not by people; do not rely on them.",
        *(f"It misses the promotion gate's rule `{rule['name']}`." for rule in facts.gate["rules"] if not rule["holds"]),
    ]
    if facts.find("tokenizer").section["kind"] == "trained":
        lines.append("In llama.cpp, numbers of three or more digits may be cut into other tokens than in training.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def lineage(facts: Facts) -> str:
    """Every artefact that the model was made from, and how close the released weights are to the trained ones."""
    parity = facts.parity
    text = (
        f"The released weights gave the trainer's logits within {parity['logit_difference_at_most']:g} at {parity['positions']:,} "
        f"positions (same best token at {percent(parity['argmax_agreement'])})."
    )
    rows = [[m.asset, f"`{m.version}`", f"`{m.digest[:16]}`", m.code_version] for m in sorted(facts.manifests, key=lambda m: m.asset)]
    return f"## Lineage\n\n{text}\n\n" + table(["asset", "version", "digest", "code"], rows)


def parameters(facts: Facts) -> int:
    """Weights of the model, from its sizes (untied head, grouped-query attention, SwiGLU, two norms a layer)."""
    model = facts.model
    width, head = model["hidden_size"], model["hidden_size"] // model["num_attention_heads"]
    attention = width * (model["num_attention_heads"] + 2 * model["num_key_value_heads"]) * head + width * width
    layer = attention + 3 * width * model["intermediate_size"] + 2 * width
    return 2 * model["vocab_size"] * width + model["num_hidden_layers"] * layer + width


def _accuracy(value: float, n: int) -> str:
    interval = share(round(value * n), n)
    return f"{percent(value)} ({percent(interval.low)} to {percent(interval.high)})"


def _change(change: dict[str, object]) -> str:
    return f"{change['verdict']}: {change['gained']} gained, {change['lost']} lost"


def _dropped(manifest: Manifest) -> str:
    return _numbered(dict(sorted(manifest.counts.dropped.items()))) or "nothing"


def _numbered(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{what}: {number:,}" for what, number in counts.items())
