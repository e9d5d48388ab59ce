// Matrix products in Highway, and the tables. The files in Highway are compiled once per instruction set with
// fused multiply-add. All else that they include is plain declarations and constants: a template of the
// standard library compiled for AVX-512 might be the copy that the linker keeps for everyone.

#include "kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd.cpp"
#include <hwy/foreach_target.h>
// foreach_target must come first.
#include <hwy/highway.h>

#include "kernels/kernels.h"
#include "kernels/simd-inl.h"
#include "kernels/simd.h"

#if KVASIR_HAS_TABLE

HWY_BEFORE_NAMESPACE();
namespace kvasir::kernels::HWY_NAMESPACE {

void attention(const AttentionArgs& args);  // attention_simd.cpp

namespace {

// ---- gemm
// ----------------------------------------------------------------------------------------------------

// Register tile: 24 accumulators of 32 registers, or 12 of AVX2's 16. A row of four columns is one store.
constexpr std::size_t kTileRows = HWY_TARGET == HWY_AVX2 ? 3 : 6;
constexpr std::size_t kTileColumns = 4;
// A single row has registers for more columns; longer groups are read from memory faster.
constexpr std::size_t kSingleRowColumns = HWY_TARGET == HWY_AVX3 ? 8 : kTileColumns;
// Cache blocks: rows of x, rows of w, and the part of k that both are cut to. The w of a register tile (8 KB)
// stays in L1 while x streams from L2.
constexpr std::size_t kBlockRows = 48;
constexpr std::size_t kBlockColumns = 48;
constexpr std::size_t kBlockK = 512;
// Rows of a block are copied with a gap, so that they do not fall into the same sets of the cache.
constexpr std::size_t kBlockStride = kBlockK + kLanes;
// From this number of rows on, w is copied (and widened) once per block instead of being read by each
// register tile.
constexpr std::size_t kMinBlockedRows = 12;

static_assert(kBlockRows % kTileRows == 0 && kBlockColumns % kTileColumns == 0);
static_assert(kBlockRows * kBlockColumns * kLanes + (kBlockRows + kBlockColumns) * kBlockStride <=
              kGemmScratchFloats);

// Asks for `num_bytes` from `from` in the second-level cache: the first has room for this group of columns
// only, and its few outstanding misses are what the loads of this group wait for.
HWY_INLINE void prefetch_bytes(const std::byte* from, std::size_t num_bytes) {
  constexpr std::size_t kCacheLine = 64;
  for (std::size_t i = 0; i < num_bytes; i += kCacheLine) __builtin_prefetch(from + i, 0, 2);
}

// partial[row][column][lane] += the products of x and w for k in [0, num_k), num_k a multiple of 16.
// Meanwhile as many bytes from `ahead` on (may be null) are fetched as are read from w: a core left to itself
// starts anew at each row, and reads memory at half its speed.
template <std::size_t kRows, std::size_t kColumns, class Weight>
HWY_INLINE void accumulate(const float* x, std::size_t x_stride, const typename Weight::Element* w,
                           std::size_t w_stride, std::size_t num_k, float* partial,
                           const std::byte* ahead = nullptr) {
  // A single row has registers to spare for all 16 lanes, and reads w once; others go over k once per
  // register width.
  constexpr std::size_t kParts = kRows == 1 ? kLanes / kWidth : 1;
  for (std::size_t lane = 0; lane < kLanes; lane += kWidth * kParts) {
    Vector sum[kRows][kColumns][kParts];
    HWY_UNROLL(16)
    for (std::size_t i = 0; i < kRows; ++i) {
      HWY_UNROLL(16)
      for (std::size_t j = 0; j < kColumns; ++j) {
        HWY_UNROLL(16)
        for (std::size_t p = 0; p < kParts; ++p) {
          sum[i][j][p] = hn::LoadU(kTag, partial + (i * kColumns + j) * kLanes + lane + p * kWidth);
        }
      }
    }
    for (std::size_t k = lane; k < num_k; k += kLanes) {
      if (ahead != nullptr) {
        constexpr std::size_t kElementBytes = kColumns * sizeof(typename Weight::Element);
        prefetch_bytes(ahead + (k - lane) * kElementBytes, kLanes * kElementBytes);
      }
      HWY_UNROLL(16)
      for (std::size_t p = 0; p < kParts; ++p) {
        Vector w_k[kColumns];
        HWY_UNROLL(16)
        for (std::size_t j = 0; j < kColumns; ++j)
          w_k[j] = Weight::load(kTag, w + j * w_stride + k + p * kWidth);
        HWY_UNROLL(16)
        for (std::size_t i = 0; i < kRows; ++i) {
          const Vector x_k = hn::LoadU(kTag, x + i * x_stride + k + p * kWidth);
          HWY_UNROLL(16)
          for (std::size_t j = 0; j < kColumns; ++j) sum[i][j][p] = hn::MulAdd(x_k, w_k[j], sum[i][j][p]);
        }
      }
    }
    HWY_UNROLL(16)
    for (std::size_t i = 0; i < kRows; ++i) {
      HWY_UNROLL(16)
      for (std::size_t j = 0; j < kColumns; ++j) {
        HWY_UNROLL(16)
        for (std::size_t p = 0; p < kParts; ++p) {
          hn::StoreU(sum[i][j][p], kTag, partial + (i * kColumns + j) * kLanes + lane + p * kWidth);
        }
      }
    }
  }
}

// y[row][column] = the sum of partial[row][column] + bias.
template <std::size_t kRows, std::size_t kColumns>
HWY_INLINE void store_sums(const float* partial, const float* bias, float* y, std::size_t y_stride) {
  for (std::size_t i = 0; i < kRows; ++i) {
    const float* row = partial + i * kColumns * kLanes;
    float* out = y + i * y_stride;
    if constexpr (kColumns == 2 * kTileColumns) {
      store_sums<1, kTileColumns>(row, bias, out, y_stride);
      store_sums<1, kTileColumns>(row + kTileColumns * kLanes,
                                  bias == nullptr ? nullptr : bias + kTileColumns, out + kTileColumns,
                                  y_stride);
    } else if constexpr (kColumns == kTileColumns) {
      // The last two levels for four columns at once, after a transposition.
      const Quad d;
      const auto a = sum_to_four(row), b = sum_to_four(row + kLanes);
      const auto c = sum_to_four(row + 2 * kLanes), e = sum_to_four(row + 3 * kLanes);
      const auto ac_low = hn::InterleaveLower(d, a, c), ac_high = hn::InterleaveUpper(d, a, c);
      const auto be_low = hn::InterleaveLower(d, b, e), be_high = hn::InterleaveUpper(d, b, e);
      const auto lane0 = hn::InterleaveLower(d, ac_low, be_low),
                 lane1 = hn::InterleaveUpper(d, ac_low, be_low);
      const auto lane2 = hn::InterleaveLower(d, ac_high, be_high),
                 lane3 = hn::InterleaveUpper(d, ac_high, be_high);
      auto sum = hn::Add(hn::Add(lane0, lane2), hn::Add(lane1, lane3));
      if (bias != nullptr) sum = hn::Add(sum, hn::LoadU(d, bias));
      hn::StoreU(sum, d, out);
    } else {
      for (std::size_t j = 0; j < kColumns; ++j) {
        const float sum = sum_lanes(row + j * kLanes);
        out[j] = bias == nullptr ? sum : sum + bias[j];
      }
    }
  }
}

// Copies `rows` rows of k elements as floats to rows of kBlockStride, filled with zeros to a multiple of 16.
template <class Weight>
void copy_rows(const typename Weight::Element* from, std::size_t stride, std::size_t rows, std::size_t k,
               float* to) {
  const hn::CappedTag<float, 1> one;
  const std::size_t padded_k = (k + kLanes - 1) / kLanes * kLanes;
  for (std::size_t row = 0; row < rows; ++row, from += stride, to += kBlockStride) {
    std::size_t i = 0;
    for (; i + kWidth <= k; i += kWidth) hn::StoreU(Weight::load(kTag, from + i), kTag, to + i);
    for (; i < k; ++i) hn::StoreU(Weight::load(one, from + i), one, to + i);
    for (; i < padded_k; ++i) to[i] = 0;
  }
}

template <std::size_t kRows, std::size_t kColumns>
void block_tile(const float* x, const float* w, std::size_t padded_k, float* partial) {
  accumulate<kRows, kColumns, F32>(x, kBlockStride, w, kBlockStride, padded_k, partial);
}
template <std::size_t kRows, std::size_t kColumns, class Weight>
void streamed_tile(const GemmArgs& args, std::size_t row, std::size_t column) {
  HWY_ALIGN float partial[kRows * kColumns * kLanes] = {};
  const float* x = args.x + row * args.x_stride;
  const auto* w = static_cast<const typename Weight::Element*>(args.w) + column * args.k;
  const std::size_t whole_k = args.k / kLanes * kLanes;
  const bool is_last = column + 2 * kColumns > args.n;
  const auto* ahead = reinterpret_cast<const std::byte*>(is_last ? w : w + kColumns * args.k);
  accumulate<kRows, kColumns, Weight>(x, args.x_stride, w, args.k, whole_k, partial, ahead);
  if (whole_k < args.k) {
    float* x_tail = args.scratch;
    float* w_tail = args.scratch + kRows * kBlockStride;
    copy_rows<F32>(x + whole_k, args.x_stride, kRows, args.k - whole_k, x_tail);
    copy_rows<Weight>(w + whole_k, args.k, kColumns, args.k - whole_k, w_tail);
    block_tile<kRows, kColumns>(x_tail, w_tail, kLanes, partial);
  }
  store_sums<kRows, kColumns>(partial, args.bias == nullptr ? nullptr : args.bias + column,
                              args.y + row * args.y_stride + column, args.y_stride);
}

// Rows of w come from memory once, few rows of x from L1.
template <class Weight>
void gemm_streamed(const GemmArgs& args) {
  const auto tile_rows = [](std::size_t rows_left) { return rows_left < kTileRows ? rows_left : kTileRows; };
  std::size_t column = 0;
  if (args.m == 1) {
    for (; column + kSingleRowColumns <= args.n; column += kSingleRowColumns) {
      streamed_tile<1, kSingleRowColumns, Weight>(args, 0, column);
    }
  }
  while (column < args.n) {
    const bool four = args.n - column >= kTileColumns;
    for (std::size_t row = 0; row < args.m; row += kTileRows) {
      switch (tile_rows(args.m - row) * 2 + (four ? 1 : 0)) {
        case 3:
          streamed_tile<1, 4, Weight>(args, row, column);
          break;
        case 5:
          streamed_tile<2, 4, Weight>(args, row, column);
          break;
        case 7:
          streamed_tile<3, 4, Weight>(args, row, column);
          break;
        case 2:
          streamed_tile<1, 1, Weight>(args, row, column);
          break;
        case 4:
          streamed_tile<2, 1, Weight>(args, row, column);
          break;
        case 6:
          streamed_tile<3, 1, Weight>(args, row, column);
          break;
#if HWY_TARGET != HWY_AVX2
        case 9:
          streamed_tile<4, 4, Weight>(args, row, column);
          break;
        case 11:
          streamed_tile<5, 4, Weight>(args, row, column);
          break;
        case 13:
          streamed_tile<6, 4, Weight>(args, row, column);
          break;
        case 8:
          streamed_tile<4, 1, Weight>(args, row, column);
          break;
        case 10:
          streamed_tile<5, 1, Weight>(args, row, column);
          break;
        case 12:
          streamed_tile<6, 1, Weight>(args, row, column);
          break;
#endif
      }
    }
    column += four ? kTileColumns : 1;
  }
}

using BlockTile = void (*)(const float* x, const float* w, std::size_t padded_k, float* partial);
using StoreSums = void (*)(const float* partial, const float* bias, float* y, std::size_t y_stride);
struct TileFunctions {
  BlockTile block_tile;
  StoreSums store_sums;
};
// [rows - 1]: for four columns, and for one.
constexpr TileFunctions kTiles4[] = {
    {block_tile<1, 4>, store_sums<1, 4>}, {block_tile<2, 4>, store_sums<2, 4>},
    {block_tile<3, 4>, store_sums<3, 4>},
#if HWY_TARGET != HWY_AVX2
    {block_tile<4, 4>, store_sums<4, 4>}, {block_tile<5, 4>, store_sums<5, 4>},
    {block_tile<6, 4>, store_sums<6, 4>},
#endif
};
constexpr TileFunctions kTiles1[] = {
    {block_tile<1, 1>, store_sums<1, 1>}, {block_tile<2, 1>, store_sums<2, 1>},
    {block_tile<3, 1>, store_sums<3, 1>},
#if HWY_TARGET != HWY_AVX2
    {block_tile<4, 1>, store_sums<4, 1>}, {block_tile<5, 1>, store_sums<5, 1>},
    {block_tile<6, 1>, store_sums<6, 1>},
#endif
};

// One block of y; the 16 lanes of each sum wait in `partial` between two parts of k.
template <class Weight>
void gemm_block(const GemmArgs& args, std::size_t row, std::size_t rows, std::size_t column,
                std::size_t columns) {
  float* partial = args.scratch;
  float* x_block = partial + kBlockRows * kBlockColumns * kLanes;
  float* w_block = x_block + kBlockRows * kBlockStride;
  for (std::size_t i = 0; i < rows * columns * kLanes; ++i) partial[i] = 0;

  const auto* w = static_cast<const typename Weight::Element*>(args.w) + column * args.k;
  const float* x = args.x + row * args.x_stride;
  for (std::size_t k = 0; k < args.k; k += kBlockK) {
    const std::size_t num_k = args.k - k < kBlockK ? args.k - k : kBlockK;
    const std::size_t padded_k = (num_k + kLanes - 1) / kLanes * kLanes;
    const bool last = k + num_k == args.k;
    copy_rows<F32>(x + k, args.x_stride, rows, num_k, x_block);
    copy_rows<Weight>(w + k, args.k, columns, num_k, w_block);
    float* tile = partial;
    for (std::size_t j = 0; j < columns;) {
      const bool four = columns - j >= kTileColumns;
      const std::size_t tile_columns = four ? kTileColumns : 1;
      for (std::size_t i = 0; i < rows; i += kTileRows) {
        const std::size_t tile_rows = rows - i < kTileRows ? rows - i : kTileRows;
        const TileFunctions& tiles = (four ? kTiles4 : kTiles1)[tile_rows - 1];
        tiles.block_tile(x_block + i * kBlockStride, w_block + j * kBlockStride, padded_k, tile);
        if (last) {
          tiles.store_sums(tile, args.bias == nullptr ? nullptr : args.bias + column + j,
                           args.y + (row + i) * args.y_stride + column + j, args.y_stride);
        }
        tile += tile_rows * tile_columns * kLanes;
      }
      j += tile_columns;
    }
  }
}

template <class Weight>
void gemm_of(const GemmArgs& args) {
  if (args.m < kMinBlockedRows || args.k == 0) return gemm_streamed<Weight>(args);
  for (std::size_t column = 0; column < args.n; column += kBlockColumns) {
    const std::size_t columns = args.n - column < kBlockColumns ? args.n - column : kBlockColumns;
    for (std::size_t row = 0; row < args.m; row += kBlockRows) {
      const std::size_t rows = args.m - row < kBlockRows ? args.m - row : kBlockRows;
      gemm_block<Weight>(args, row, rows, column, columns);
    }
  }
}

void gemm(const GemmArgs& args) {
  switch (args.w_type) {
    case WeightType::kF32:
      return gemm_of<F32>(args);
    case WeightType::kF16:
      return gemm_of<F16>(args);
    case WeightType::kBf16:
      return gemm_of<Bf16>(args);
  }
}

// ---- functions of each element

// Calls at(d, i) for elements i on, as many as d has lanes.
template <class Function>
HWY_INLINE void for_each_vector(std::size_t count, const Function& at) {
  std::size_t i = 0;
  for (; i + kWidth <= count; i += kWidth) at(kTag, i);
  for (; i < count; ++i) at(hn::CappedTag<float, 1>(), i);
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V silu(D d, V x) {
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), exponential(d, hn::Neg(x))));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V gelu_tanh(D d, V x) {
  const V slope = hn::MulAdd(hn::Mul(x, x), hn::Set(d, kGeluTanhCubic), hn::Set(d, kGeluTanhLinear));
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), exponential(d, hn::Neg(hn::Mul(x, slope)))));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V gelu(D d, V x) {
  const V one = hn::Set(d, 1.0f), half = hn::Set(d, 0.5f);
  const V z = hn::Mul(hn::Abs(x), hn::Set(d, kHalfSqrt2));
  const V t = hn::Div(one, hn::MulAdd(hn::Set(d, kErfcSlope), z, one));
  V p = hn::Set(d, kErfcPolynomial[0]);
  for (std::size_t i = 1; i < sizeof(kErfcPolynomial) / sizeof(float); ++i) {
    p = hn::MulAdd(p, t, hn::Set(d, kErfcPolynomial[i]));
  }
  const V power = exponential(d, hn::Mul(hn::Mul(x, x), hn::Set(d, -0.5f)));
  const V below = hn::Mul(power, hn::Mul(hn::Mul(t, p), half));
  const auto is_negative = hn::Lt(x, hn::Zero(d));
  return hn::Mul(x, hn::IfThenElse(is_negative, below, hn::Sub(one, below)));
}

template <class Function>
HWY_INLINE void activate_with(const Function& function, const float* x, const float* up, float* out,
                              std::size_t count) {
  for_each_vector(count, [&](auto d, std::size_t i) HWY_ATTR {
    auto value = function(d, hn::LoadU(d, x + i));
    if (up != nullptr) value = hn::Mul(value, hn::LoadU(d, up + i));
    hn::StoreU(value, d, out + i);
  });
}

void activate(Activation activation, const float* x, const float* up, float* out, std::size_t count) {
  switch (activation) {
    case Activation::kSilu:
      return activate_with([](auto d, auto v) HWY_ATTR { return silu(d, v); }, x, up, out, count);
    case Activation::kGelu:
      return activate_with([](auto d, auto v) HWY_ATTR { return gelu(d, v); }, x, up, out, count);
    case Activation::kGeluTanh:
      return activate_with([](auto d, auto v) HWY_ATTR { return gelu_tanh(d, v); }, x, up, out, count);
  }
}

void soft_cap(float* x, float cap, std::size_t count) {
  for_each_vector(count, [&](auto d, std::size_t i) HWY_ATTR {
    const auto to = hn::Set(d, cap);
    hn::StoreU(hn::Mul(to, tanh_of(d, hn::Div(hn::LoadU(d, x + i), to))), d, x + i);
  });
}

constexpr const char* kIsa = HWY_TARGET == HWY_AVX3 ? "avx512" : HWY_TARGET == HWY_AVX2 ? "avx2" : "neon";
constexpr KernelTable kTable = {kIsa, gemm, attention, activate, soft_cap};

}  // namespace
const KernelTable* table() {
  return &kTable;
}
}  // namespace kvasir::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // KVASIR_HAS_TABLE

#if HWY_ONCE
namespace kvasir::kernels {
namespace {

struct Available {
  const KernelTable* tables[2] = {};
  std::size_t count = 0;
};

Available find_available() {
  Available available;
  [[maybe_unused]] const auto supported = hwy::SupportedTargets();
#if HWY_ARCH_X86 && (HWY_TARGETS & HWY_AVX3)
  if (supported & HWY_AVX3) available.tables[available.count++] = N_AVX3::table();
#endif
#if HWY_ARCH_X86 && (HWY_TARGETS & HWY_AVX2)
  if (supported & HWY_AVX2) available.tables[available.count++] = N_AVX2::table();
#endif
#if HWY_ARCH_ARM_A64
  available.tables[available.count++] = HWY_STATIC_DISPATCH(table)();
#endif
  return available;
}

}  // namespace

std::span<const KernelTable* const> float_kernels() {
  static const Available available = find_available();
  return {available.tables, available.count};
}

}  // namespace kvasir::kernels
#endif  // HWY_ONCE
