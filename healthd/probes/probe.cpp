#include "healthd/probes/probe.hpp"

#include <algorithm>

#include "lbcluster/config/schema.hpp"

namespace lbcluster::health {
namespace {

constexpr std::size_t line_bytes_max = 1024;
constexpr std::string_view cut = "... (no more is kept)\n";

}  // namespace

// Ours, and printable already: what a server said in it was escaped once.
void Transcript::note(std::string_view text) { add("* ", text, false); }
void Transcript::sent(std::string_view bytes) { add("> ", config::mask_secrets(bytes), true); }
// A server may send back what it was sent.
void Transcript::received(std::string_view bytes) { add("< ", config::mask_secrets(bytes), true); }

void Transcript::add(std::string_view mark, std::string_view bytes, bool escape) {
    while (!bytes.empty() && text_.size() < bytes_max) {
        const std::size_t end = std::min(bytes.find('\n'), bytes.size() - 1);
        std::string_view line = bytes.substr(0, end + 1);
        bytes.remove_prefix(end + 1);
        while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
        text_ += mark;
        if (escape) text_ += printable(line, line_bytes_max);
        else text_ += line.substr(0, line_bytes_max);
        text_ += '\n';
    }
    if (text_.size() >= bytes_max && !text_.ends_with(cut)) {
        text_.resize(bytes_max - cut.size() - 1);
        text_ += '\n';
        text_ += cut;
    }
}

}  // namespace lbcluster::health
