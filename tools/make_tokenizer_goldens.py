#!/usr/bin/env python3
"""Writes tests/data/tokenizer: small tokenizers of our own that use what tokenizer.json has, with goldens by `tokenizers`.

<name>.json is the tokenizer, <name>.jsonl has one text a line: text, ids (with special tokens), ids_nospecial, decoded
(ids_nospecial, special tokens kept), decoded_full and decoded_skip (ids, special tokens kept and skipped), stream (what
DecodeStream returned for each of `ids`). The vocabularies are made by hand, so the files are small and say what they test.
"""

import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

OUT = Path(__file__).resolve().parent.parent / "tests" / "data" / "tokenizer"

TEXTS = [
    "", " ", "  ", "Hello, world!", " Hello  world ", "hello\nworld\t\r\n", "The year is 1984, and 3.14 is pi.",
    "caf\u00e9 cafe\u0301 \u00c5ngstr\u00f6m \u212b \ufb01ne \u2460\u2461", "\u4f60\u597d\uff0c\u4e16\u754c hello \u3042\u30a2",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 x", "I'm don't we've they'll", "a-b_c d.e/f\\g", "<s>hello</s> <mask> w",
    "x<mask>y  <mask>  z<tok>q <tok> tok<tok>", "HELLO World \u0130stanbul STRASSE \u03a3\u03a3", "\u200b\ufeff\u00a0\u2003x\u3000y\u2028z",
    "aaaaaaaaaaaaaaaaaaaa", "unknowable zzz qqq", "null\x00byte \x01\x02\x7f", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u0928\u092e\u0938\u094d\u0924\u0947 \uc548\ub155",
    "word" * 30, "1 12 123 1234 12345 \u0661\u0662 \u00bd \u2167", "tabs\t\tand\u2581marks \u2581\u2581x", "end.\n\n\nNew  paragraph", "\ufffd\ufffd ok",
    "mixed\u0301\u0327 marks \u1e69\u0323", "$5 + 5 = 10 ^^ `x` |y| ~z", "\u00bfQu\u00e9? \u00a1S\u00ed! \u201cquoted\u201d \u2014 dash\u2026",
]

LETTERS = "abcdefghijklmnopqrstuvwxyz"
ASCII = [chr(c) for c in range(33, 127)]


def byte_alphabet():
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def make_bpe(vocab, merges, **options):
    """A BPE whose vocabulary is `vocab` and what the merges make."""
    vocab = list(dict.fromkeys(vocab))
    prefix = options.get("continuing_subword_prefix") or ""
    for a, b in merges:
        joined = a + b.removeprefix(prefix) if prefix else a + b
        if joined not in vocab:
            vocab.append(joined)
    return models.BPE(vocab={token: i for i, token in enumerate(vocab)}, merges=merges, **options)


WORD_MERGES = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("w", "o"), ("r", "l"), ("wo", "rl"), ("worl", "d"),
               ("a", "a"), ("aa", "aa"), ("t", "h"), ("th", "e"), ("1", "2"), ("12", "3")]


def byte_level(**byte_level_options):
    t = Tokenizer(make_bpe(byte_alphabet(), WORD_MERGES + [("\u0120", "hello"), ("\u0120", "w")]))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(**byte_level_options)
    t.decoder = decoders.ByteLevel()
    return t


def variants():
    t = byte_level(add_prefix_space=True)
    t.post_processor = processors.RobertaProcessing(sep=("</s>", 301), cls=("<s>", 300))
    t.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True),
                          AddedToken("<mask>", lstrip=True, special=True)])
    ids = {token: t.token_to_id(token) for token in ("<s>", "</s>")}
    t.post_processor = processors.RobertaProcessing(sep=("</s>", ids["</s>"]), cls=("<s>", ids["<s>"]))
    yield "byte-level-roberta", t

    t = byte_level(add_prefix_space=False, use_regex=False)
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
                                   r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.add_tokens([AddedToken("<tok>", single_word=True, normalized=False), AddedToken("<mask>", rstrip=True, normalized=False)])
    yield "byte-level-split", t

    t = Tokenizer(make_bpe(byte_alphabet(), WORD_MERGES))
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.ByteLevel()])
    t.decoder = decoders.ByteLevel()
    t.add_tokens([AddedToken("MASK", normalized=True), AddedToken("<mask>", normalized=True, lstrip=True, rstrip=True)])
    yield "normalizer-byte-level", t

    sp = ["<unk>"] + [f"<0x{i:02X}>" for i in range(256)] + ["\u2581"] + ASCII
    sp_merges = WORD_MERGES + [("\u2581", "hello"), ("\u2581", "w"), ("\u2581", "\u2581")]
    t = Tokenizer(make_bpe(sp, sp_merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                   decoders.Strip(" ", 1, 0)])
    t.add_special_tokens(["<s>", "</s>"])
    t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[
        ("<s>", t.token_to_id("<s>")), ("</s>", t.token_to_id("</s>"))])
    yield "metaspace-first", t

    t = Tokenizer(make_bpe(["<unk>", "\u2581"] + ASCII, sp_merges, unk_token="<unk>", fuse_unk=False))
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=True)
    t.decoder = decoders.Metaspace(prepend_scheme="never")
    yield "metaspace-never-unfused", t

    t = Tokenizer(make_bpe(["<unk>"] + list(LETTERS) + ["@@" + c for c in LETTERS], [("h", "@@e"), ("he", "@@l"), ("hel", "@@l"),
                           ("hell", "@@o"), ("w", "@@o"), ("@@r", "@@l")], unk_token="<unk>", continuing_subword_prefix="@@"))
    t.normalizer = normalizers.Lowercase()
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.decoder = decoders.WordPiece(prefix="@@")
    yield "bpe-prefix", t

    t = Tokenizer(make_bpe(["<unk>"] + list(LETTERS) + [c + "</w>" for c in LETTERS], [("h", "e"), ("l", "l"), ("he", "ll"),
                           ("hell", "o</w>"), ("w", "o"), ("l", "d</w>")], unk_token="<unk>", end_of_word_suffix="</w>"))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.BPEDecoder()
    yield "bpe-suffix", t

    t = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["[UNK]", "hello", "world", ",", "!", "the", "a", "1984", "Hello"])},
                                   unk_token="[UNK]"))
    t.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.Strip(left=True, right=True), normalizers.NFD(),
                                         normalizers.StripAccents()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("isolated")])
    yield "word-level", t

    wp = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + list(LETTERS) + ["##" + c for c in LETTERS] + \
         ["hello", "world", "##lo", "un", "##know", "##able", "1", "##9", "##8", "##4", ",", "!", ".", "'", "caf", "##\u00e9"]
    for name, options in {"word-piece": {"lowercase": True}, "word-piece-cased": {"lowercase": False, "strip_accents": True,
                          "handle_chinese_chars": False, "clean_text": False}}.items():
        t = Tokenizer(models.WordPiece({w: i for i, w in enumerate(wp)}, unk_token="[UNK]", max_input_chars_per_word=50))
        t.normalizer = normalizers.BertNormalizer(**options)
        t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        t.decoder = decoders.WordPiece(cleanup=options["lowercase"])
        t.add_special_tokens(["[CLS]", "[SEP]", "[MASK]"])
        yield name, t

    scores = [("<unk>", 0.0), ("\u2581", -2.0), ("\u2581hello", -3.0), ("hello", -4.0), ("\u2581world", -3.5), ("he", -4.5), ("llo", -4.6),
              ("a", -5.0), ("aa", -9.0), ("aaa", -14.2), ("\u2581the", -2.5)] + [(c, -6.0 - i / 10) for i, c in enumerate(LETTERS) if c != "a"]
    t = Tokenizer(models.Unigram(scores, 0, False))
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    yield "unigram", t

    t = Tokenizer(models.Unigram(scores + [(f"<0x{i:02X}>", -12.0) for i in range(256)], 0, True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                   decoders.Strip(" ", 1, 0)])
    yield "unigram-bytes", t

    t = Tokenizer(models.WordLevel({c: i for i, c in enumerate(["<pad>", "|", "[UNK]"] + list(LETTERS))}, unk_token="[UNK]"))
    t.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "|")])
    t.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    t.decoder = decoders.CTC(pad_token="<pad>", word_delimiter_token="|")
    yield "ctc", t

    for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        for invert in (False, True):
            t = Tokenizer(make_bpe(byte_alphabet(), WORD_MERGES))
            t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"[\s,.!]|\d"), behavior, invert),
                                                       pre_tokenizers.ByteLevel(False, use_regex=False)])
            yield f"split-{behavior.replace('_', '-')}{'-inverted' if invert else ''}", t

    t = Tokenizer(make_bpe(byte_alphabet(), WORD_MERGES))
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.CharDelimiterSplit("o"), pre_tokenizers.Digits(individual_digits=False),
        pre_tokenizers.Punctuation("merged_with_previous"), pre_tokenizers.ByteLevel(False)])
    yield "digits-punctuation", t


    t = Tokenizer(make_bpe(byte_alphabet(), WORD_MERGES))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.UnicodeScripts(), pre_tokenizers.ByteLevel(False, use_regex=False)])
    yield "unicode-scripts", t

    t = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["?", "hello", " ", "Hello", "world", "aaaaa", "year"])}, unk_token="?"))
    t.pre_tokenizer = pre_tokenizers.UnicodeScripts()
    yield "unicode-scripts-words", t


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.iterdir():
        old.unlink()
    for name, tokenizer in variants():
        # What is written is what is read: some settings are filled in on the way.
        path = OUT / f"{name}.json"
        path.write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=True, separators=(",", ":")))
        tokenizer = Tokenizer.from_file(str(path))
        lines = []
        for text in TEXTS:
            ids, plain = tokenizer.encode(text).ids, tokenizer.encode(text, add_special_tokens=False).ids
            line = {"text": text, "ids": ids, "ids_nospecial": plain,
                    "decoded": tokenizer.decode(plain, skip_special_tokens=False),
                    "decoded_full": tokenizer.decode(ids, skip_special_tokens=False),
                    "decoded_skip": tokenizer.decode(ids, skip_special_tokens=True)}
            try:
                stream = decoders.DecodeStream(skip_special_tokens=False)
                line["stream"] = [stream.step(tokenizer, i) for i in ids]
            except Exception:  # a decoder whose text is not a prefix of the longer one: the library gives up
                line["stream"] = None
            lines.append(json.dumps(line))
        (OUT / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
