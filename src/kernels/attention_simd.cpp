// Attention in Highway, compiled once per instruction set (see simd.cpp).

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

// The running softmax of one query row: the largest score so far, and the sum of exp(score - max).
struct Softmax {
  float max;
  float sum;
};

// out[row][d .. d + lanes) = out * rescale + the values of the first num_keys keys by weight.
template <int kRows, class Kv, class D>
HWY_INLINE void add_values(D d, const typename Kv::Element* v, int head_dim, int num_keys, float* const* out,
                           const float* rescale, const float (*p)[kLanes], int at) {
  hn::Vec<D> sum[kRows];
  HWY_UNROLL(16)
  for (int row = 0; row < kRows; ++row) {
    sum[row] = hn::Mul(hn::LoadU(d, out[row] + at), hn::Set(d, rescale[row]));
  }
  for (int j = 0; j < num_keys; ++j) {
    const auto v_j = Kv::load(d, v + j * head_dim + at);
    HWY_UNROLL(16)
    for (int row = 0; row < kRows; ++row) sum[row] = hn::MulAdd(hn::Set(d, p[row][j]), v_j, sum[row]);
  }
  HWY_UNROLL(16)
  for (int row = 0; row < kRows; ++row) hn::StoreU(sum[row], d, out[row] + at);
}

// Takes the first num_keys keys of one tile into kRows rows.
template <int kRows, class Kv>
void attend_tile(const AttentionArgs& args, int tile, int num_keys, const float* const* q, float* const* out,
                 Softmax* softmax) {
  using Element = typename Kv::Element;
  const std::byte* block = args.blocks[tile / args.tiles_per_block];
  const std::size_t offset = static_cast<std::size_t>(tile % args.tiles_per_block) * args.tile_bytes;
  const Element* k = reinterpret_cast<const Element*>(block + args.k_offset + offset);
  const Element* v = reinterpret_cast<const Element*>(block + args.v_offset + offset);

  HWY_ALIGN float p[kRows][kLanes];
  for (std::size_t lane = 0; lane < kLanes; lane += kWidth) {
    Vector score[kRows];
    HWY_UNROLL(16)
    for (int row = 0; row < kRows; ++row) score[row] = hn::Zero(kTag);
    for (int d = 0; d < args.head_dim; ++d) {
      const Vector k_d = Kv::load(kTag, k + static_cast<std::size_t>(d) * kLanes + lane);
      HWY_UNROLL(16)
      for (int row = 0; row < kRows; ++row)
        score[row] = hn::MulAdd(hn::Set(kTag, q[row][d]), k_d, score[row]);
    }
    HWY_UNROLL(16)
    for (int row = 0; row < kRows; ++row) {
      hn::Store(hn::Mul(score[row], hn::Set(kTag, args.scale)), kTag, p[row] + lane);
    }
  }

  float rescale[kRows];
  for (int row = 0; row < kRows; ++row) {
    // Keys after the query may be anything; as -inf they get weight 0, and their values are not read.
    for (int j = num_keys; j < static_cast<int>(kLanes); ++j) p[row][j] = -__builtin_inff();
    Vector largest = hn::Load(kTag, p[row]);
    for (std::size_t lane = kWidth; lane < kLanes; lane += kWidth) {
      largest = hn::Max(largest, hn::Load(kTag, p[row] + lane));
    }
    const float tile_max = hn::GetLane(hn::MaxOfLanes(kTag, largest));
    const float max = tile_max > softmax[row].max ? tile_max : softmax[row].max;
    for (std::size_t lane = 0; lane < kLanes; lane += kWidth) {
      const Vector score = hn::Load(kTag, p[row] + lane);
      hn::Store(exponential(kTag, hn::Sub(score, hn::Set(kTag, max))), kTag, p[row] + lane);
    }
    rescale[row] = hn::GetLane(exponential(Quad(), hn::Set(Quad(), softmax[row].max - max)));
    softmax[row].sum = __builtin_fmaf(softmax[row].sum, rescale[row], sum_lanes(p[row]));
    softmax[row].max = max;
  }

  int d = 0;
  for (; d + static_cast<int>(kWidth) <= args.head_dim; d += static_cast<int>(kWidth)) {
    add_values<kRows, Kv>(kTag, v, args.head_dim, num_keys, out, rescale, p, d);
  }
  for (; d + 4 <= args.head_dim; d += 4)
    add_values<kRows, Kv>(Quad(), v, args.head_dim, num_keys, out, rescale, p, d);
  for (; d < args.head_dim; ++d) {
    add_values<kRows, Kv>(hn::CappedTag<float, 1>(), v, args.head_dim, num_keys, out, rescale, p, d);
  }
}

template <int kRows, class Kv>
void attend(const AttentionArgs& args) {
  Softmax softmax[kRows];
  int num_full_tiles = args.position[0] / kTileTokens + 1;
  for (int row = 0; row < kRows; ++row) {
    softmax[row] = {-__builtin_inff(), 0};
    for (int d = 0; d < args.head_dim; ++d) args.out[row][d] = 0;
    const int full = (args.position[row] + 1) / kTileTokens;
    num_full_tiles = full < num_full_tiles ? full : num_full_tiles;
  }
  for (int tile = 0; tile < num_full_tiles; ++tile) {
    attend_tile<kRows, Kv>(args, tile, kTileTokens, args.q, args.out, softmax);
  }
  // What is left differs between the rows: each goes on alone.
  for (int row = 0; row < kRows; ++row) {
    for (int tile = num_full_tiles; tile * kTileTokens <= args.position[row]; ++tile) {
      const int keys = args.position[row] + 1 - tile * kTileTokens;
      attend_tile<1, Kv>(args, tile, keys < kTileTokens ? keys : kTileTokens, args.q + row, args.out + row,
                         softmax + row);
    }
    for (int d = 0; d < args.head_dim; ++d) args.out[row][d] /= softmax[row].sum;
  }
}

template <class Kv>
void attention_of(const AttentionArgs& args) {
  switch (args.num_rows) {
    case 1:
      return attend<1, Kv>(args);
    case 2:
      return attend<2, Kv>(args);
    case 3:
      return attend<3, Kv>(args);
    case 4:
      return attend<4, Kv>(args);
    case 5:
      return attend<5, Kv>(args);
    case 6:
      return attend<6, Kv>(args);
    case 7:
      return attend<7, Kv>(args);
    case 8:
      return attend<8, Kv>(args);
  }
}

}  // namespace

void attention(const AttentionArgs& args) {
  return args.kv_type == KvType::kF32 ? attention_of<F32>(args) : attention_of<F16>(args);
}

}  // namespace kvasir::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // KVASIR_HAS_TABLE
