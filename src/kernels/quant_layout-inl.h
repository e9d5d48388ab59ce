#pragma once

// How the bytes of panels and of quantised rows are written, and read in registers (quant.h has the
// pictures); included by files that are compiled for one instruction set: hence everything is in an anonymous
// namespace, and nothing but plain headers may be included here.
//
// An Isa has the types Bytes and Float: registers of the same kLanes columns, four bytes and one float each.
//   bytes(from), low_halves(b), high_halves(b), b | b        on Bytes
//   shifted_bits(b, left, mask)     each byte shifted, a negative `left` to the right, and masked
//   load_f16, load_u8, load_i8, mul                          on Float; they widen what they load

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/quant.h"

namespace kvasir::kernels {
namespace {

constexpr std::size_t kQuads = kGroupSize / 4;
constexpr std::size_t kLineBytes = 64;  // a quad of 16 columns; a cache line
constexpr std::size_t kHalfByteLines = kQuads / 2;
constexpr std::size_t kColumnScales = kPanelColumns;  // bytes of one scale, of 8 bits, of each column

// Quads that share a scale.
constexpr std::size_t quads_per_scale(QuantType type) {
  return kQuads / scales_per_group(type);
}

// Writes the corrections of one group of a row. sums: of each half of the group, over the k mod 4 of 0 and 1,
// and of 2 and 3.
inline void store_corrections(QuantType w_type, float scale, const std::int32_t (&sums)[2][2],
                              std::byte* corrections) {
  const int offset = weight_offset(w_type);
  const std::int32_t sum = sums[0][0] + sums[0][1] + sums[1][0] + sums[1][1];
  if (w_type == QuantType::kQ6_K) {
    const std::int16_t halves[4] = {
        static_cast<std::int16_t>(-offset * sums[0][0]), static_cast<std::int16_t>(-offset * sums[0][1]),
        static_cast<std::int16_t>(-offset * sums[1][0]), static_cast<std::int16_t>(-offset * sums[1][1])};
    std::memcpy(corrections, halves, sizeof halves);
  } else if (has_minimums(w_type)) {
    const float factor = -(scale * static_cast<float>(sum));
    std::memcpy(corrections, &factor, sizeof factor);
  } else {
    const std::int32_t correction = -offset * sum;
    std::memcpy(corrections, &correction, sizeof correction);
  }
}

// What a sum of products with q, offset included, begins with.
template <QuantType kType>
inline std::int32_t load_correction(const std::byte* correction) {
  if constexpr (has_minimums(kType)) return 0;
  if constexpr (kType == QuantType::kQ6_K) {
    std::int16_t halves[2];
    std::memcpy(halves, correction, sizeof halves);
    return halves[0] + halves[1];
  }
  std::int32_t value;
  std::memcpy(&value, correction, sizeof value);
  return value;
}

// Writes the 32 q of one column, offset included, to a group of a panel.
inline void store_group(const std::uint8_t* q, QuantType type, std::size_t column, std::byte* group) {
  std::uint32_t quads[kQuads], lines[kQuads] = {};
  std::memcpy(quads, q, sizeof quads);
  if (type == QuantType::kQ8_0) {
    std::memcpy(lines, quads, sizeof quads);
  } else {
    for (std::size_t i = 0; i < kHalfByteLines; ++i) {
      lines[i] = (quads[i] & 0x0F0F0F0Fu) | (quads[i + kHalfByteLines] & 0x0F0F0F0Fu) << 4;
    }
    for (std::size_t i = 0; i < kQuads; ++i) {
      if (type == QuantType::kQ5_K) lines[kHalfByteLines] |= (quads[i] >> 4 & 0x01010101u) << i;
      if (type == QuantType::kQ6_K) {
        lines[kHalfByteLines + i / 4] |= (quads[i] >> 4 & 0x03030303u) << i % 4 * 2;
      }
    }
  }
  for (std::size_t line = 0; line < group_bytes(type) / kLineBytes; ++line) {
    std::memcpy(group + line * kLineBytes + column * 4, &lines[line], 4);
  }
}

// One quad's q, offset included. group: where the register's columns begin in the group's first line.
template <class Isa, QuantType kType>
inline typename Isa::Bytes unpack_quad(const std::byte* group, std::size_t quad) {
  if constexpr (kType == QuantType::kQ8_0) {
    return Isa::bytes(group + quad * kLineBytes);
  } else {
    const auto both = Isa::bytes(group + quad % kHalfByteLines * kLineBytes);
    const auto low = quad < kHalfByteLines ? Isa::low_halves(both) : Isa::high_halves(both);
    const std::byte* high = group + kHalfByteLines * kLineBytes;
    const int at = static_cast<int>(quad);
    if constexpr (kType == QuantType::kQ5_K) {
      return low | Isa::shifted_bits(Isa::bytes(high), 4 - at, 0x10);
    } else if constexpr (kType == QuantType::kQ6_K) {
      return low | Isa::shifted_bits(Isa::bytes(high + at / 4 * kLineBytes), 4 - at % 4 * 2, 0x30);
    } else {
      return low;
    }
  }
}

// The n-th scales, or the minimums, of group g of the columns from `column` on. scales: those of a panel,
// from a super-block's first group on, where there are super-blocks.
template <class Isa, QuantType kType>
inline typename Isa::Float load_scales(const std::byte* scales, std::size_t g, std::size_t n,
                                       std::size_t column) {
  if constexpr (!has_super_blocks(kType)) {
    return Isa::load_f16(scales + g * kGroupScaleBytes + column * 2);
  } else {
    const std::byte* super = scales + scales_begin(kType, g / kSuperBlockGroups * kSuperBlockGroups);
    const std::byte* own = scales + scales_begin(kType, g) + super_scale_bytes(kType);
    own += n * kColumnScales + column;
    return Isa::mul(Isa::load_f16(super + column * 2),
                    kType == QuantType::kQ6_K ? Isa::load_i8(own) : Isa::load_u8(own));
  }
}
template <class Isa, QuantType kType>
inline typename Isa::Float load_minimums(const std::byte* scales, std::size_t g, std::size_t column) {
  const std::byte* super = scales + scales_begin(kType, g / kSuperBlockGroups * kSuperBlockGroups);
  const std::byte* own = scales + scales_begin(kType, g) + super_scale_bytes(kType);
  return Isa::mul(Isa::load_f16(super + kGroupScaleBytes + column * 2),
                  Isa::load_u8(own + kColumnScales + column));
}

}  // namespace
}  // namespace kvasir::kernels
