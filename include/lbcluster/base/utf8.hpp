// UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing beyond U+10FFFF. Pure; safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lbcluster {

struct CodePoint {
    std::uint32_t value = 0;
    std::size_t size = 0;  // bytes it takes; 0: what stands there is not UTF-8
};

// The first one of `text`, which must not be empty.
CodePoint decode_utf8(std::string_view text);

bool is_utf8(std::string_view text);

// One line of text whatever was given: control characters become blanks, bytes that are not UTF-8 U+FFFD.
std::string one_line(std::string_view text);

}  // namespace lbcluster
