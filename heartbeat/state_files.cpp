#include "heartbeat/state_files.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <sstream>

#include "lbcluster/base/time.hpp"
#include "lbcluster/bus/event_file.hpp"
#include "lbcluster/config/store.hpp"

namespace lbcluster::heartbeat {

namespace {

Error failed(const std::string& what, const std::string& path) {
    return {what + " " + path + ": " + std::strerror(errno), "check space and permissions of the state folder", errno};
}

Result<void> remove_file(const std::string& folder, const std::string& path) {
    if (::unlink(path.c_str()) != 0) {
        if (errno == ENOENT) return {};
        return failed("cannot remove", path);
    }
    const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool synced = fd >= 0 && ::fsync(fd) == 0;
    Result<void> result;
    if (!synced) result = failed("cannot remove", path);
    if (fd >= 0) ::close(fd);
    return result;
}

}  // namespace

Result<std::uint64_t> read_term(const std::string& state_dir) {
    const std::string path = state_dir + "/term";
    std::ifstream file(path);
    if (!file) return std::uint64_t{0};
    std::stringstream content;
    content << file.rdbuf();
    const std::string text = content.str();
    std::uint64_t term = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), term);
    if (error != std::errc{} || end == text.data()) {
        return Error{path + " does not hold a number", "remove it; the term is learned from the peer", EINVAL};
    }
    return term;
}

bool read_standby(const std::string& state_dir) { return ::access((state_dir + "/standby").c_str(), F_OK) == 0; }

FileThread::FileThread(boost::asio::io_context& daemon_io, std::string state_dir)
    : daemon_io_(daemon_io), state_dir_(std::move(state_dir)), guard_(io_.get_executor()) {
    thread_ = std::thread([this] {
        ::pthread_setname_np(::pthread_self(), "hb-files");
        io_.run();
    });
}

FileThread::~FileThread() { stop(); }

void FileThread::stop() {
    io_.stop();
    if (thread_.joinable()) thread_.join();
}

void FileThread::run(std::function<void()> work) { boost::asio::post(io_, std::move(work)); }

void FileThread::write_term(std::uint64_t term, Done done) {
    run([this, term, done = std::move(done)] {
        auto result = config::write_atomically(state_dir_ + "/term", std::to_string(term) + "\n", 0600);
        boost::asio::post(daemon_io_, [done, result = std::move(result)] { done(result); });
    });
}

void FileThread::write_standby(bool standby, Done done) {
    run([this, standby, done = std::move(done)] {
        Result<void> result;
        const std::string path = state_dir_ + "/standby";
        if (standby) result = config::write_atomically(path, "by the operator\n", 0600);
        else result = remove_file(state_dir_, path);
        boost::asio::post(daemon_io_, [done, result = std::move(result)] { done(result); });
    });
}

void FileThread::append_event(const bus::Event& event, Done done) {
    constexpr unsigned waiting_max = 1000;
    if (waiting_events_ >= waiting_max) {
        errno = ETIMEDOUT;
        return done(failed("cannot write", state_dir_ + "/events.jsonl"));
    }
    ++waiting_events_;
    run([this, event, done = std::move(done)] {
        auto result = bus::append_event(state_dir_ + "/events.jsonl", event);
        --waiting_events_;
        boost::asio::post(daemon_io_, [done, result = std::move(result)] { done(result); });
    });
}

}  // namespace lbcluster::heartbeat
