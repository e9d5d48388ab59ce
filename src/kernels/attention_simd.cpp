// Attention in Highway, compiled once per instruction set (see simd.cpp).
//
// A span of 64 keys at a time: scores of all rows, their softmax, then the values. Rows are taken in register
// tiles. K and V of the span are small enough for the first-level cache; when several tiles of rows share
// them, they are widened to floats once.

#include "kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention_simd.cpp"
#include <hwy/foreach_target.h>
// foreach_target must come first.
#include <hwy/highway.h>

#include "kernels/kernels.h"
#include "kernels/simd-inl.h"

#if KVASIR_HAS_TABLE

HWY_BEFORE_NAMESPACE();
namespace kvasir::kernels::HWY_NAMESPACE {
namespace {

constexpr int kTilesPerSpan = kSpanTokens / kTileTokens;
constexpr int kVectorsPerTile = kTileTokens / static_cast<int>(kWidth);

// Rows of a register tile at most.
constexpr int kMaxTileRows = 6;
// From this number of rows on, K and V are widened once for all tiles and not in the loads of each.
constexpr int kMinWidenedRows = 25;

// Vectors of keys, or of values, that a tile of `rows` rows takes at once.
constexpr int vectors_beside(int rows) {
  constexpr int kAccumulators = HWY_TARGET == HWY_AVX2 ? 12 : 24;  // of 16 and of 32 registers
  int vectors = HWY_TARGET == HWY_AVX3 ? 4 : 8;
  while (rows * vectors > kAccumulators) vectors /= 2;
  return vectors;
}
static_assert(vectors_beside(1) <= kTilesPerSpan * kVectorsPerTile);

// K and V of a span that have been copied as floats.
struct Widened : F32 {};
// Whether K and V lie in blocks, so that they may have to come from memory.
template <class Kv>
constexpr bool kIsStored = true;
template <>
constexpr bool kIsStored<Widened> = false;

// Keys [first_key, first_key + 16 * num_tiles) of a sequence. All pointers are valid: those beyond num_tiles
// repeat the last.
template <class Element>
struct Span {
  int first_key;
  int num_tiles;
  const Element* k[kTilesPerSpan];  // (head_dim, 16) each
  const Element* v[kTilesPerSpan];  // (16, v_stride) each
  std::size_t v_stride;
  const Element* next_k[kTilesPerSpan];  // of the next span
  // What multiplies a token's K and V, (16) each; null where they are stored as they are.
  const hwy::float16_t *k_scales[kTilesPerSpan], *v_scales[kTilesPerSpan];
};

// 2^x for x <= 0, see exp_constants.h.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V exp2_of(D d, V x) {
  const hn::RebindToUnsigned<D> bits;
  const auto underflows = hn::Lt(x, hn::Set(d, kExp2Min));
  const V t = hn::Add(x, hn::Set(d, kExpRound));
  const V r = hn::Sub(x, hn::Sub(t, hn::Set(d, kExpRound)));
  V p = hn::Set(d, kExp2Polynomial[0]);
  for (std::size_t i = 1; i < sizeof(kExp2Polynomial) / sizeof(float); ++i) {
    p = hn::MulAdd(p, r, hn::Set(d, kExp2Polynomial[i]));
  }
  const auto result = hn::Add(hn::BitCast(bits, p), hn::ShiftLeft<23>(hn::BitCast(bits, t)));
  return hn::IfThenZeroElse(underflows, hn::BitCast(d, result));
}

// scores (kRows, 64) of the span = q k. q: (head_dim, kRows). Meanwhile its V is fetched.
template <int kRows, class Kv>
void score(const float* q, const Span<typename Kv::Element>& span, int head_dim, float* scores) {
  using Element = typename Kv::Element;
  constexpr int kVectors = vectors_beside(kRows);
  for (int first = 0; first < span.num_tiles * kVectorsPerTile; first += kVectors) {
    const Element *k[kVectors], *v[kVectors];
    HWY_UNROLL(8)
    for (int i = 0; i < kVectors; ++i) {
      k[i] = span.k[(first + i) / kVectorsPerTile] + (first + i) % kVectorsPerTile * kWidth;
      v[i] = span.v[(first + i) / kVectorsPerTile];
    }
    Vector sum[kRows][kVectors];
    HWY_UNROLL(8)
    for (int row = 0; row < kRows; ++row) {
      HWY_UNROLL(8)
      for (int i = 0; i < kVectors; ++i) sum[row][i] = hn::Zero(kTag);
    }
    for (int d = 0; d < head_dim; ++d) {
      const std::size_t at = static_cast<std::size_t>(d) * kTileTokens;
      if constexpr (kIsStored<Kv>) {
        HWY_UNROLL(4)
        for (int i = 0; i < kVectors; i += kVectorsPerTile) __builtin_prefetch(v[i] + at);
      }
      Vector k_d[kVectors];
      HWY_UNROLL(8)
      for (int i = 0; i < kVectors; ++i) k_d[i] = Kv::load(kTag, k[i] + at);
      HWY_UNROLL(8)
      for (int row = 0; row < kRows; ++row) {
        const Vector q_d = hn::Set(kTag, q[d * kRows + row]);
        HWY_UNROLL(8)
        for (int i = 0; i < kVectors; ++i) sum[row][i] = hn::MulAdd(q_d, k_d[i], sum[row][i]);
      }
    }
    HWY_UNROLL(8)
    for (int row = 0; row < kRows; ++row) {
      HWY_UNROLL(8)
      for (int i = 0; i < kVectors; ++i) {
        hn::StoreU(sum[row][i], kTag, scores + row * kSpanTokens + (first + i) * kWidth);
      }
    }
  }
}

// Keys of the span that the row sees; may be negative.
HWY_INLINE int visible_keys(const AttentionRow& row, int first_key, int num_tiles) {
  const int visible = row.num_keys - first_key;
  return visible < num_tiles * kTileTokens ? visible : num_tiles * kTileTokens;
}

// values[0, 16 * num_tiles) times the tokens' scales.
HWY_INLINE void multiply(float* values, const hwy::float16_t* const* scales, int num_tiles) {
  for (int tile = 0; tile < num_tiles; ++tile) {
    HWY_UNROLL(4)
    for (int i = 0; i < kTileTokens; i += kWidth) {
      float* at = values + tile * kTileTokens + i;
      hn::Store(hn::Mul(hn::Load(kTag, at), F16::load(kTag, scales[tile] + i)), kTag, at);
    }
  }
}

// Scores of one row become weights relative to its largest score so far. Returns the factor for what was
// relative to the largest before. cap: the soft cap times log2(e), or 0.
HWY_INLINE float softmax(AttentionRow& row, int first_key, int num_tiles, float cap, float* scores) {
  const int visible = visible_keys(row, first_key, num_tiles), hidden = row.first_key - first_key;
  if (visible <= 0 || hidden >= visible) {
    for (int j = 0; j < num_tiles * kTileTokens; ++j) scores[j] = 0;
    return 1;
  }
  if (cap != 0) {
    for (int j = 0; j < num_tiles * kTileTokens; j += kWidth) {
      const Vector capped = hn::Mul(hn::Set(kTag, cap), tanh_of(kTag, hn::Load(kTag, scores + j)));
      hn::Store(capped, kTag, scores + j);
    }
  }
  // Keys after the query may be anything.
  for (int j = visible; j < num_tiles * kTileTokens; ++j) scores[j] = -__builtin_inff();
  for (int j = 0; j < hidden; ++j) scores[j] = -__builtin_inff();
  Vector max = hn::Set(kTag, row.max);
  for (int j = 0; j < num_tiles * kTileTokens; j += kWidth) max = hn::Max(max, hn::Load(kTag, scores + j));
  max = hn::MaxOfLanes(kTag, max);

  Vector lanes[kVectorsPerTile];
  HWY_UNROLL(4)
  for (int i = 0; i < kVectorsPerTile; ++i) lanes[i] = hn::Zero(kTag);
  for (int tile = 0; tile < num_tiles; ++tile) {
    HWY_UNROLL(4)
    for (int i = 0; i < kVectorsPerTile; ++i) {
      float* at = scores + tile * kTileTokens + i * kWidth;
      const Vector weight = exp2_of(kTag, hn::Sub(hn::Load(kTag, at), max));
      hn::Store(weight, kTag, at);
      lanes[i] = hn::Add(lanes[i], weight);
    }
  }
  HWY_ALIGN float lane[kTileTokens];
  HWY_UNROLL(4)
  for (int i = 0; i < kVectorsPerTile; ++i) hn::Store(lanes[i], kTag, lane + i * kWidth);

  const float new_max = hn::GetLane(max);
  const float rescale = hn::GetLane(exp2_of(Quad(), hn::Set(Quad(), row.max - new_max)));
  row.sum = __builtin_fmaf(row.sum, rescale, sum_lanes(lane));
  row.max = new_max;
  return rescale;
}

// out[at ..] of each row = out * rescale + the values of the span's keys [first, end) by weight. Meanwhile K
// of the next span, which is as large as this one's V, is fetched.
template <int kRows, int kVectors, class Kv, class D>
HWY_INLINE void add_values(D d, const Span<typename Kv::Element>& span, int first, int end,
                           const float* weights, const float* rescale, AttentionRow* rows, int at) {
  constexpr int kStep = static_cast<int>(hn::MaxLanes(D()));
  hn::Vec<D> sum[kRows][kVectors];
  HWY_UNROLL(8)
  for (int row = 0; row < kRows; ++row) {
    const auto factor = hn::Set(d, rescale[row]);
    HWY_UNROLL(8)
    for (int i = 0; i < kVectors; ++i) {
      sum[row][i] = hn::Mul(hn::LoadU(d, rows[row].out + at + i * kStep), factor);
    }
  }
  while (first < end) {
    const std::size_t in_tile = first % kTileTokens * span.v_stride + at;
    const auto* v = span.v[first / kTileTokens] + in_tile;
    const auto* next_k = span.next_k[first / kTileTokens] + in_tile;
    const int tile_end = (first / kTileTokens + 1) * kTileTokens;
    for (const int until = tile_end < end ? tile_end : end; first < until; ++first, v += span.v_stride) {
      if constexpr (kIsStored<Kv>) {
        __builtin_prefetch(next_k);
        next_k += span.v_stride;
      }
      hn::Vec<D> v_j[kVectors];
      HWY_UNROLL(8)
      for (int i = 0; i < kVectors; ++i) v_j[i] = Kv::load(d, v + i * kStep);
      HWY_UNROLL(8)
      for (int row = 0; row < kRows; ++row) {
        const auto weight = hn::Set(d, weights[row * kSpanTokens + first]);
        HWY_UNROLL(8)
        for (int i = 0; i < kVectors; ++i) sum[row][i] = hn::MulAdd(weight, v_j[i], sum[row][i]);
      }
    }
  }
  HWY_UNROLL(8)
  for (int row = 0; row < kRows; ++row) {
    HWY_UNROLL(8)
    for (int i = 0; i < kVectors; ++i) hn::StoreU(sum[row][i], d, rows[row].out + at + i * kStep);
  }
}

template <int kRows, class Kv>
void add_all_values(const Span<typename Kv::Element>& span, int first, int end, const float* weights,
                    const float* rescale, AttentionRow* rows, int head_dim) {
  constexpr int kVectors = vectors_beside(kRows);
  constexpr int kStep = static_cast<int>(kWidth);
  int at = 0;
  for (; at + kVectors * kStep <= head_dim; at += kVectors * kStep) {
    add_values<kRows, kVectors, Kv>(kTag, span, first, end, weights, rescale, rows, at);
  }
  for (; at + kStep <= head_dim; at += kStep) {
    add_values<kRows, 1, Kv>(kTag, span, first, end, weights, rescale, rows, at);
  }
  for (; at + 4 <= head_dim; at += 4) {
    add_values<kRows, 1, Kv>(Quad(), span, first, end, weights, rescale, rows, at);
  }
  for (; at < head_dim; ++at) {
    add_values<kRows, 1, Kv>(hn::CappedTag<float, 1>(), span, first, end, weights, rescale, rows, at);
  }
}

// The values of the keys that all rows of the tile see; then each row goes on alone.
template <int kRows, class Kv>
void take_values(const Span<typename Kv::Element>& span, const float* weights, const float* rescale,
                 AttentionRow* rows, int head_dim) {
  int common = span.num_tiles * kTileTokens;
  for (int row = 0; row < kRows; ++row) {
    const int visible = visible_keys(rows[row], span.first_key, span.num_tiles);
    common = visible < common ? visible : common;
  }
  common = common < 0 ? 0 : common;
  add_all_values<kRows, Kv>(span, 0, common, weights, rescale, rows, head_dim);
  if constexpr (kRows > 1) {
    constexpr float kOne = 1.0f;
    for (int row = 0; row < kRows; ++row) {
      const int visible = visible_keys(rows[row], span.first_key, span.num_tiles);
      if (visible <= common) continue;
      add_all_values<1, Kv>(span, common, visible, weights + row * kSpanTokens, &kOne, rows + row, head_dim);
    }
  }
}

template <class Kv>
struct TileFunctions {
  using KvSpan = Span<typename Kv::Element>;
  void (*score)(const float* q, const KvSpan& span, int head_dim, float* scores);
  void (*take_values)(const KvSpan& span, const float* weights, const float* rescale, AttentionRow* rows,
                      int head_dim);
};
// [rows - 1]
template <class Kv>
constexpr TileFunctions<Kv> kTileFunctions[] = {
    {score<1, Kv>, take_values<1, Kv>}, {score<2, Kv>, take_values<2, Kv>},
    {score<3, Kv>, take_values<3, Kv>}, {score<4, Kv>, take_values<4, Kv>},
    {score<5, Kv>, take_values<5, Kv>}, {score<6, Kv>, take_values<6, Kv>},
};

// The span at first_key; its next one is filled in when that is known.
template <class Element>
Span<Element> span_at(const AttentionArgs& args, int first_key, int end_key) {
  Span<Element> span = {};
  span.first_key = first_key;
  span.v_stride = args.head_dim;
  const int tiles_left = (end_key - first_key + kTileTokens - 1) / kTileTokens;
  span.num_tiles = tiles_left < kTilesPerSpan ? tiles_left : kTilesPerSpan;
  for (int i = 0; i < kTilesPerSpan; ++i) {
    const int tile = first_key / kTileTokens + (i < span.num_tiles ? i : span.num_tiles - 1);
    const std::byte* place = args.blocks[tile / args.tiles_per_block] +
                             static_cast<std::size_t>(tile % args.tiles_per_block) * args.tile_bytes;
    span.k[i] = span.next_k[i] = reinterpret_cast<const Element*>(place + args.k_offset);
    span.v[i] = reinterpret_cast<const Element*>(place + args.v_offset);
    if (args.kv_type == KvType::kQ8) {
      const std::size_t behind = static_cast<std::size_t>(args.head_dim) * kTileTokens;
      span.k_scales[i] = reinterpret_cast<const hwy::float16_t*>(place + args.k_offset + behind);
      span.v_scales[i] = reinterpret_cast<const hwy::float16_t*>(place + args.v_offset + behind);
    }
  }
  return span;
}

// Copies `count` elements as floats, and fetches as many from `ahead` on.
template <class Kv>
HWY_INLINE void widen(const typename Kv::Element* from, const typename Kv::Element* ahead, int count,
                      float* to) {
  constexpr int kStep = static_cast<int>(kWidth);
  int i = 0;
  for (; i + kStep <= count; i += kStep) {
    __builtin_prefetch(ahead + i, 0, 2);
    hn::StoreU(Kv::load(kTag, from + i), kTag, to + i);
  }
  const hn::CappedTag<float, 1> one;
  for (; i < count; ++i) hn::StoreU(Kv::load(one, from + i), one, to + i);
}

// Rows of widened V lie an odd number of cache lines apart, so that they spread over the sets of the cache.
HWY_INLINE std::size_t wide_v_stride(int head_dim) {
  const std::size_t lines = (head_dim + kLanes - 1) / kLanes;
  return (lines | 1) * kLanes;
}

// Copies K of the span to `to`, and fetches its V.
template <class Kv>
void widen_k(const Span<typename Kv::Element>& span, int head_dim, float* to, Span<float>& wide) {
  const int count = head_dim * kTileTokens;
  for (int tile = 0; tile < kTilesPerSpan; ++tile) {
    wide.k[tile] = to + (tile < span.num_tiles ? tile : span.num_tiles - 1) * count;
    if (tile < span.num_tiles) widen<Kv>(span.k[tile], span.v[tile], count, to + tile * count);
  }
}

// Copies V of the span to `to`, and fetches K of the next one.
template <class Kv>
void widen_v(const Span<typename Kv::Element>& span, int head_dim, float* to, Span<float>& wide) {
  wide.v_stride = wide_v_stride(head_dim);
  for (int tile = 0; tile < span.num_tiles; ++tile) {
    wide.v[tile] = to;
    for (int j = 0; j < kTileTokens; ++j, to += wide.v_stride) {
      widen<Kv>(span.v[tile] + j * head_dim, span.next_k[tile] + j * head_dim, head_dim, to);
    }
  }
}

// The rows in tiles, and their place in the scratch memory.
struct Rows {
  AttentionRow* rows;
  int num_rows;
  int tile_rows;
  int head_dim;
  float cap;      // of softmax()
  float* q;       // scaled: (tiles, head_dim, rows of the tile)
  float* scores;  // (num_rows, 64), then the weights
  float* rescale;

  template <class Task>
  HWY_INLINE void for_each_tile(int first_key, const Task& task) const {
    for (int first = 0; first < num_rows; first += tile_rows) {
      const int count = num_rows - first < tile_rows ? num_rows - first : tile_rows;
      bool sees_any = false;
      for (int row = first; row < first + count; ++row) {
        sees_any |= rows[row].num_keys > first_key && rows[row].first_key < first_key + kSpanTokens;
      }
      if (sees_any) task(first, count);
    }
  }
};

template <class Kv>
void take_span_scores(const Rows& all, const Span<typename Kv::Element>& span) {
  all.for_each_tile(span.first_key, [&](int first, int count) {
    float* scores = all.scores + first * kSpanTokens;
    kTileFunctions<Kv>[count - 1].score(all.q + first * all.head_dim, span, all.head_dim, scores);
    for (int row = 0; row < count; ++row, scores += kSpanTokens) {
      if (span.k_scales[0] != nullptr) multiply(scores, span.k_scales, span.num_tiles);
      all.rescale[first + row] =
          softmax(all.rows[first + row], span.first_key, span.num_tiles, all.cap, scores);
      if (span.v_scales[0] != nullptr) multiply(scores, span.v_scales, span.num_tiles);
    }
  });
}

template <class Kv>
void take_span_values(const Rows& all, const Span<typename Kv::Element>& span) {
  all.for_each_tile(span.first_key, [&](int first, int count) {
    kTileFunctions<Kv>[count - 1].take_values(span, all.scores + first * kSpanTokens, all.rescale + first,
                                              all.rows + first, all.head_dim);
  });
}

void scale_queries(const AttentionArgs& args, const Rows& all) {
  const float scale = args.soft_cap == 0 ? args.scale * kLog2E : args.scale / args.soft_cap;
  for (int first = 0; first < all.num_rows; first += all.tile_rows) {
    const int count = all.num_rows - first < all.tile_rows ? all.num_rows - first : all.tile_rows;
    for (int row = 0; row < count; ++row) {
      const float* from = all.rows[first + row].q;
      float* to = all.q + first * all.head_dim + row;
      for (int d = 0; d < all.head_dim; ++d) to[d * count] = from[d] * scale;
    }
  }
}

template <class Kv>
void attend(const AttentionArgs& args) {
  using Element = typename Kv::Element;
  const bool widens = sizeof(Element) < sizeof(float) && args.num_rows >= kMinWidenedRows;
  HWY_ALIGN float rescale[kMaxAttentionRows];
  Rows all;
  all.rows = args.rows;
  all.num_rows = args.num_rows;
  const int num_tiles = (args.num_rows + kMaxTileRows - 1) / kMaxTileRows;
  all.tile_rows = (args.num_rows + num_tiles - 1) / num_tiles;
  all.head_dim = args.head_dim;
  all.cap = args.soft_cap * kLog2E;
  all.scores = args.scratch;
  all.q = all.scores + kMaxAttentionRows * kSpanTokens;
  all.rescale = rescale;
  float* wide_memory = all.q + kMaxAttentionRows * static_cast<std::size_t>(args.head_dim);
  scale_queries(args, all);

  int last_key = 0;
  for (int row = 0; row < args.num_rows; ++row) {
    last_key = args.rows[row].num_keys > last_key ? args.rows[row].num_keys : last_key;
  }
  const int end_key = last_key < args.end_key ? last_key : args.end_key;
  if (args.first_key >= end_key) return;
  Span<Element> next = span_at<Element>(args, args.first_key, end_key);
  for (int key = args.first_key; key < end_key; key += kSpanTokens) {
    Span<Element> span = next;
    if (key + kSpanTokens < end_key) {
      next = span_at<Element>(args, key + kSpanTokens, end_key);
      for (int i = 0; i < kTilesPerSpan; ++i) span.next_k[i] = next.k[i];
    }
    if (widens) {
      Span<float> wide = {};
      wide.first_key = span.first_key;
      wide.num_tiles = span.num_tiles;
      for (int i = 0; i < kTilesPerSpan; ++i) {
        wide.k_scales[i] = span.k_scales[i];
        wide.v_scales[i] = span.v_scales[i];
      }
      widen_k<Kv>(span, args.head_dim, wide_memory, wide);
      take_span_scores<Widened>(all, wide);
      widen_v<Kv>(span, args.head_dim, wide_memory, wide);
      take_span_values<Widened>(all, wide);
    } else {
      take_span_scores<Kv>(all, span);
      take_span_values<Kv>(all, span);
    }
  }
  for (int row = 0; row < args.num_rows; ++row) {
    const AttentionRow& done = args.rows[row];
    if (done.num_keys <= args.first_key || done.num_keys > args.end_key) continue;
    for (int d = 0; d < args.head_dim; ++d) done.out[d] /= done.sum;
  }
}

}  // namespace

void attention(const AttentionArgs& args) {
  switch (args.kv_type) {
    case KvType::kF32:
      return attend<F32>(args);
    case KvType::kF16:
      return attend<F16>(args);
    case KvType::kQ8:
      return attend<I8>(args);
  }
}

}  // namespace kvasir::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // KVASIR_HAS_TABLE
