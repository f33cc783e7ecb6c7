#include "healthd/probes/errors.hpp"

#include <cctype>
#include <cerrno>
#include <cstring>

namespace lbcluster::health {
namespace {

bool is_ours(int code) {
    switch (code) {
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
        case EAGAIN:  // no free local port
        case EADDRINUSE:
        case EADDRNOTAVAIL:  // no local port or no source address
        case ENETUNREACH:    // no route; a router's message to that effect comes later, as network_failed
        case ENETDOWN:
        case ENODEV:
        case EPERM:  // our own packet filter
        case EACCES:
        case EINVAL:
        case EAFNOSUPPORT:
        case EPROTONOSUPPORT:
        case EMSGSIZE:
            return true;
        default:
            return false;
    }
}

Outcome outcome_of(Finding finding, std::string_view what, int code) {
    return {finding, std::string(what) + ": " + error_text(code)};
}

}  // namespace

std::string error_text(int code) {
    if (code == EAGAIN || code == EADDRNOTAVAIL) return "no free local port or address";
    if (code == EHOSTUNREACH) return "no route to host";
    std::string text = std::strerror(code);
    if (text.size() > 1 && std::islower(static_cast<unsigned char>(text[1])) != 0) {
        text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
    }
    return text;
}

Outcome call_failed(std::string_view what, int code) {
    return outcome_of(is_ours(code) ? Finding::unusable : Finding::down, what, code);
}

Outcome network_failed(std::string_view what, int code) { return outcome_of(Finding::down, what, code); }

Outcome no_socket(int code, std::size_t sockets_max) {
    if (code == EMFILE) {
        return {Finding::unusable, "no socket: " + std::to_string(sockets_max) +
                                       " probes are under way, which is what the limit of open files allows"};
    }
    return outcome_of(Finding::unusable, "no socket", code);
}

}  // namespace lbcluster::health
