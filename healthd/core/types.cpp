#include "healthd/core/types.hpp"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

namespace lbcluster::health {

namespace {

std::string escaped(char c) {
    constexpr std::string_view digits = "0123456789abcdef";
    const auto byte = static_cast<unsigned char>(c);
    switch (c) {
        case '\r':
            return "\\r";
        case '\n':
            return "\\n";
        case '\t':
            return "\\t";
        case '"':
        case '\\':
            return {'\\', c};
        default:
            break;
    }
    if (byte >= 0x20 && byte <= 0x7e) return {c};
    return {'\\', 'x', digits[byte >> 4U], digits[byte & 15U]};
}

}  // namespace

std::string printable(std::string_view bytes, std::size_t bytes_max) {
    constexpr std::string_view more = "...";
    std::string out;
    std::size_t room_for_more = 0;  // bytes of `out` after which the mark still fits
    for (const char c : bytes) {
        if (out.size() + more.size() <= bytes_max) room_for_more = out.size();
        const std::string text = escaped(c);
        if (out.size() + text.size() > bytes_max) {
            out.resize(room_for_more);
            if (bytes_max >= more.size()) out += more;
            return out;
        }
        out += text;
    }
    return out;
}

std::string ProbeSpec::key() const {
    std::string out;
    {
        google::protobuf::io::StringOutputStream stream(&out);
        google::protobuf::io::CodedOutputStream coded(&stream);
        coded.SetSerializationDeterministic(true);  // `headers` is a map
        check.SerializeToCodedStream(&coded);
    }
    out += '\n' + address.to_string() + '\n' + std::to_string(port);
    if (!virtual_address.empty()) out += '\n' + virtual_address + '\n' + std::to_string(virtual_port);
    return out;
}

}  // namespace lbcluster::health
