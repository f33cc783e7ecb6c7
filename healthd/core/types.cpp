#include "healthd/core/types.hpp"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <array>
#include <cstdio>

namespace lbcluster::health {

std::string printable(std::string_view bytes, std::size_t bytes_max) {
    constexpr std::string_view more = "...";
    std::string out;
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        std::array<char, 5> text{c};
        if (c == '\r') std::snprintf(text.data(), text.size(), "\\r");
        else if (c == '\n') std::snprintf(text.data(), text.size(), "\\n");
        else if (c == '\t') std::snprintf(text.data(), text.size(), "\\t");
        else if (c == '"' || c == '\\') std::snprintf(text.data(), text.size(), "\\%c", c);
        else if (byte < 0x20 || byte > 0x7e) std::snprintf(text.data(), text.size(), "\\x%02x", byte);
        if (out.size() + std::string_view(text.data()).size() > bytes_max) {
            // Room for the mark; an escape may be cut with it.
            out.resize(bytes_max > more.size() ? std::min(out.size(), bytes_max - more.size()) : 0);
            return out += more;
        }
        out += text.data();
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
