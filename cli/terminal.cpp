#include "terminal.hpp"

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>

namespace lbcluster::cli {
namespace {

constexpr std::size_t answer_bytes_max = 1024;

std::optional<std::string> ask_at(int terminal, const std::string& text) {
    if (::write(terminal, text.data(), text.size()) < 0) return std::nullopt;
    std::string answer;
    for (char c = 0; answer.size() < answer_bytes_max;) {
        const ssize_t got = ::read(terminal, &c, 1);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0 || c == '\n') break;
        answer.push_back(c);
    }
    return answer;
}

std::optional<std::string> ask_as(const std::string& text, bool secret) {
    const int terminal = ::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (terminal < 0) return std::nullopt;
    termios before{};
    const bool hide = secret && ::tcgetattr(terminal, &before) == 0;
    if (hide) {
        termios hidden = before;
        hidden.c_lflag &= ~static_cast<tcflag_t>(ECHO);
        ::tcsetattr(terminal, TCSAFLUSH, &hidden);
    }
    auto answer = ask_at(terminal, text);
    if (hide) {
        ::tcsetattr(terminal, TCSAFLUSH, &before);
        (void)!::write(terminal, "\n", 1);
    }
    ::close(terminal);
    return answer;
}

}  // namespace

std::optional<std::string> ask(const std::string& text) { return ask_as(text, false); }
std::optional<std::string> ask_secret(const std::string& text) { return ask_as(text, true); }

}  // namespace lbcluster::cli
