#include "lbcluster/base/log.hpp"

#include <poll.h>
#include <spdlog/async.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <utility>

namespace lbcluster {

namespace {

std::atomic<std::uint64_t> dropped{0};

// stderr without waiting: a pipe that polls writable takes PIPE_BUF bytes, a socket is asked not to wait.
class StderrSink final : public spdlog::sinks::base_sink<std::mutex> {
  public:
    explicit StderrSink(bool journal) : journal_(journal) {}

  protected:
    void sink_it_(const spdlog::details::log_msg& message) override {
        spdlog::memory_buf_t line;
        if (journal_) {
            static constexpr const char* priorities[] = {"<7>", "<7>", "<6>", "<4>", "<3>", "<2>", "<6>"};
            const char* priority = priorities[message.level];
            line.append(priority, priority + 3);
        }
        formatter_->format(message, line);
        constexpr std::size_t line_bytes_max = 4096;  // PIPE_BUF
        std::size_t size = line.size();
        if (size > line_bytes_max) {
            size = line_bytes_max;
            line[size - 1] = '\n';
        }
        pollfd fd{STDERR_FILENO, POLLOUT, 0};
        if (::poll(&fd, 1, 0) != 1 || (fd.revents & POLLOUT) == 0) {
            ++dropped;
            return;
        }
        ssize_t written = ::send(STDERR_FILENO, line.data(), size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (written < 0 && errno == ENOTSOCK) written = ::write(STDERR_FILENO, line.data(), size);
        if (written != static_cast<ssize_t>(size)) ++dropped;
    }
    void flush_() override {}

  private:
    bool journal_;
};

spdlog::level::level_enum level_of(const std::string& level) {
    if (level == "debug") return spdlog::level::debug;
    if (level == "warning") return spdlog::level::warn;
    if (level == "error") return spdlog::level::err;
    return spdlog::level::info;
}

}  // namespace

void start_logging(const std::string& program, const std::string& level) {
    const bool journal = std::getenv("JOURNAL_STREAM") != nullptr;
    auto sink = std::make_shared<StderrSink>(journal);
    // overrun_oldest: a caller never waits for a full queue.
    spdlog::init_thread_pool(1024, 1);
    auto logger = std::make_shared<spdlog::async_logger>(program, std::move(sink), spdlog::thread_pool(),
                                                         spdlog::async_overflow_policy::overrun_oldest);
    logger->set_formatter(std::make_unique<spdlog::pattern_formatter>(journal ? "%v" : "%Y-%m-%dT%H:%M:%S.%eZ %n %l %v",
                                                                      spdlog::pattern_time_type::utc));
    logger->set_level(level_of(level));
    spdlog::set_default_logger(std::move(logger));
}

void set_log_level(const std::string& level) { spdlog::set_level(level_of(level)); }

std::uint64_t log_lines_dropped() {
    const auto pool = spdlog::thread_pool();
    return dropped + (pool ? pool->overrun_counter() : 0);
}

void stop_logging() { spdlog::shutdown(); }

}  // namespace lbcluster
