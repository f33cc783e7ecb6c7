#include "lbcluster/base/utf8.hpp"

#include <array>

namespace lbcluster {

CodePoint decode_utf8(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
    const std::uint8_t lead = byte(0);
    if (lead < 0x80) return {lead, 1};
    const std::size_t size = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || text.size() < size) return {};
    std::uint32_t value = lead & (0x7FU >> size);
    for (std::size_t i = 1; i < size; ++i) {
        if ((byte(i) & 0xC0) != 0x80) return {};
        value = value << 6U | (byte(i) & 0x3FU);
    }
    constexpr std::array<std::uint32_t, 5> least{0, 0, 0x80, 0x800, 0x10000};
    const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
    if (value < least[size] || value > 0x10FFFF || surrogate) return {};
    return {value, size};
}

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const std::size_t size = decode_utf8(text).size;
        if (size == 0) return false;
        text.remove_prefix(size);
    }
    return true;
}

std::string one_line(std::string_view text) {
    std::string out;
    while (!text.empty()) {
        const CodePoint c = decode_utf8(text);
        if (c.size == 0) {
            out += "\xEF\xBF\xBD";
            text.remove_prefix(1);
            continue;
        }
        const bool control = c.value < 0x20 || (c.value >= 0x7F && c.value < 0xA0);
        out += control ? " " : text.substr(0, c.size);
        text.remove_prefix(c.size);
    }
    return out;
}

}  // namespace lbcluster
