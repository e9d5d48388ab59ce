"""A tokenizer.json as the keys of a GGUF file, with the gguf package."""

import base64

import gguf

MARK = "\u2581"  # SentencePiece's space


def add_tokenizer(writer, tokenizer, kind, pre=None):
    """The keys that llama.cpp's converter writes for a tokenizer.json, read as a dict."""
    model = tokenizer["model"]
    added = {token["id"]: token for token in tokenizer["added_tokens"]}
    if kind == "t5":
        pieces = {i: piece for i, (piece, _) in enumerate(model["vocab"])}
    else:
        pieces = {i: piece for piece, i in model["vocab"].items()}
    pieces.update({i: token["content"] for i, token in added.items()})
    count = max(pieces) + 1
    texts, types = [], []
    for i in range(count):
        text, token_type = pieces.get(i, f"[PAD{i}]"), gguf.TokenType.NORMAL if i in pieces else gguf.TokenType.UNUSED
        if i in added:
            token_type = gguf.TokenType.CONTROL if added[i]["special"] else gguf.TokenType.USER_DEFINED
        elif kind in ("llama", "gemma4") and len(text) == 6 and text.startswith("<0x"):
            token_type = gguf.TokenType.BYTE
        if text == model.get("unk_token"):
            token_type = gguf.TokenType.UNKNOWN
        if kind == "bert" and token_type == gguf.TokenType.NORMAL:
            text = text[2:] if text.startswith("##") else MARK + text
        texts.append(text)
        types.append(token_type)
    writer.add_tokenizer_model(kind)
    if pre:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(texts)
    writer.add_token_types(types)
    if kind == "llama":
        # SentencePiece's scores are not in tokenizer.json, but the order of the merges is by them.
        scores = {}
        for rank, merge in enumerate(model["merges"]):
            left, right = merge if isinstance(merge, list) else merge.split(" ", 1)
            scores.setdefault(left + right, -float(rank))
        lowest = -float(len(model["merges"]))
        writer.add_token_scores([scores.get(text, lowest) for text in texts])
        steps = tokenizer["normalizer"].get("normalizers", [tokenizer["normalizer"]])
        writer.add_add_space_prefix(any(step["type"] == "Prepend" for step in steps))
    elif kind == "t5":
        scores = [score for _, score in model["vocab"]]
        writer.add_token_scores(scores + [0.0] * (count - len(scores)))
        if (tokenizer.get("normalizer") or {}).get("type") == "Precompiled":
            writer.add_precompiled_charsmap(base64.b64decode(tokenizer["normalizer"]["precompiled_charsmap"]))
    elif kind != "bert":
        merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
        writer.add_token_merges(merges)
    if model.get("unk_token") in texts:
        writer.add_unk_token_id(texts.index(model["unk_token"]))
    frame = tokenizer.get("post_processor") or {}
    for step in frame.get("processors", [frame]):
        if step.get("type") == "TemplateProcessing":
            frame = step
    ids = frame.get("special_tokens", {})
    single = frame.get("single", []) if frame.get("type") == "TemplateProcessing" else []
    first = single[0]["SpecialToken"]["id"] if single and "SpecialToken" in single[0] else None
    last = single[-1]["SpecialToken"]["id"] if single and "SpecialToken" in single[-1] else None
    writer.add_add_bos_token(first is not None)
    if first is not None:
        writer.add_bos_token_id(ids[first]["ids"][0])
    if kind == "bert":
        writer.add_sep_token_id(ids[last]["ids"][0])
    else:
        writer.add_add_eos_token(last is not None)
        if last is not None:
            writer.add_eos_token_id(ids[last]["ids"][0])
