#include "lbcluster/config/watcher.hpp"

#include <dirent.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "lib/config/file_ops.hpp"

namespace lbcluster::config {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

namespace {

// IN_MODIFY: a file that is being rewritten in place is empty, or half there; the quiet time counts from its last byte.
constexpr std::uint32_t events = IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE |
                                 IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
// In the folder of the revisions: only the end of a change by our own tools, see Store::commit().
constexpr std::uint32_t end_of_change = IN_DELETE | IN_ONLYDIR;

std::string parent_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

class Watcher::Impl : public std::enable_shared_from_this<Watcher::Impl> {
  public:
    Impl(asio::io_context& io, const Paths& paths, std::function<void()> on_change, std::chrono::milliseconds quiet)
        : paths_(paths), on_change_(std::move(on_change)), quiet_(quiet), inotify_(io), timer_(io) {}

    Result<void> start() {
        const int fd = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        if (fd < 0) return file_ops::system_error("watch", paths_.config_dir, errno);
        inotify_.assign(fd);
        watch_all();
        wait();
        return {};
    }

    void close() {
        closed_ = true;
        boost::system::error_code ignored;
        inotify_.close(ignored);
        timer_.cancel();
    }

  private:
    enum class Kind { config, files, keys, above, revisions };

    void wait() {
        inotify_.async_wait(asio::posix::descriptor_base::wait_read,
                            [self = shared_from_this()](const boost::system::error_code& error) {
                                if (error || self->closed_) return;
                                if (self->read_events()) self->note_change();
                                self->wait();
                            });
    }

    // Bounded by the kernel's queue; an overrun counts as a change.
    bool read_events() {
        alignas(inotify_event) std::array<char, 16384> buffer{};
        bool changed = false;
        for (int round = 0; round < 64; ++round) {
            const ssize_t got = ::read(inotify_.native_handle(), buffer.data(), buffer.size());
            if (got <= 0) break;
            for (std::size_t at = 0; at + sizeof(inotify_event) <= static_cast<std::size_t>(got);) {
                inotify_event event{};
                std::memcpy(&event, buffer.data() + at, sizeof event);
                const char* name = event.len > 0 ? buffer.data() + at + sizeof event : "";
                changed = matters(event, name) || changed;
                at += sizeof event + event.len;
            }
        }
        return changed;
    }

    bool matters(const inotify_event& event, const std::string& name) {
        if ((event.mask & IN_Q_OVERFLOW) != 0) return true;
        const auto watch = watches_.find(event.wd);
        if (watch == watches_.end() || (event.mask & IN_IGNORED) != 0) return false;
        if ((event.mask & (IN_DELETE_SELF | IN_MOVE_SELF)) != 0) return true;
        switch (watch->second) {
            case Kind::files:
                return true;
            case Kind::above:
                return name == awaited_;
            // Not our own temporary files, nor an editor's.
            case Kind::config:
                return name == "node.yaml" || name == "cluster.yaml" || name == "files";
            case Kind::keys:
                return name == "heartbeat.key";
            case Kind::revisions:
                complete_ = complete_ || name == file_ops::pending_name;
                return name == file_ops::pending_name;
        }
        return false;
    }

    void note_change() {
        const auto now = Clock::now();
        if (!pending_) first_change_ = now;
        pending_ = true;
        // New folders must be watched at once, or what comes into them would be missed.
        watch_all();
        // Who put a revision in force says when it is whole; nobody knows that of a hand with an editor.
        if (std::exchange(complete_, false)) timer_.expires_at(now);
        else timer_.expires_at(std::min(now + quiet_, first_change_ + 10 * quiet_));
        timer_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
            if (error || self->closed_ || !self->pending_) return;
            // The end of a wait that was prolonged when this call was on its way already.
            if (Clock::now() < self->timer_.expiry()) return;
            // What happened just now is perhaps the beginning of the next burst.
            if (self->read_events() && Clock::now() < self->first_change_ + 10 * self->quiet_) {
                self->note_change();
                return;
            }
            self->pending_ = self->complete_ = false;
            self->on_change_();
        });
    }

    // inotify_add_watch() of a folder that is watched already gives the same number: no need to know the difference.
    void watch_all(int rounds_left = 8) {
        std::map<int, Kind> before = std::move(watches_);
        watches_.clear();
        add(paths_.keys_dir(), Kind::keys);
        add(paths_.revisions_dir(), Kind::revisions, end_of_change);
        std::string folder = paths_.config_dir;
        bool there = add(folder, Kind::config);
        while (!there && folder != "/" && folder != ".") {
            awaited_ = folder.substr(folder.rfind('/') + 1);
            folder = parent_of(folder);
            there = add(folder, Kind::above);
        }
        if (folder == paths_.config_dir) {
            watch_files(paths_.files_dir(), 1);
            // Told when the whole folder is replaced: IN_MOVE_SELF and IN_DELETE_SELF do that.
        } else if (there && rounds_left > 0 && is_folder(folder + "/" + awaited_)) {
            // Made between the two looks: one more round finds it. (One that cannot be watched at all ends the rounds.)
            watches_.merge(before);  // still known to the kernel, to be removed by the last round
            watch_all(rounds_left - 1);
            return;
        }
        for (const auto& [number, kind] : before) {
            if (watches_.count(number) == 0) ::inotify_rm_watch(inotify_.native_handle(), number);
        }
    }

    static bool is_folder(const std::string& path) {
        struct stat info{};
        return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
    }

    void watch_files(const std::string& folder, int depth) {
        constexpr int depth_max = 5;
        if (depth > depth_max || !add(folder, Kind::files)) return;
        const std::unique_ptr<DIR, int (*)(DIR*)> open_folder(::opendir(folder.c_str()), &::closedir);
        if (!open_folder) return;
        for (const dirent* entry = ::readdir(open_folder.get()); entry != nullptr;
             entry = ::readdir(open_folder.get())) {
            const std::string name = entry->d_name;
            if (entry->d_type == DT_DIR && name != "." && name != "..") watch_files(folder + "/" + name, depth + 1);
        }
    }

    bool add(const std::string& folder, Kind kind, std::uint32_t mask = events) {
        if (watches_.size() >= folders_max) return false;
        const int number = ::inotify_add_watch(inotify_.native_handle(), folder.c_str(), mask);
        if (number < 0) return false;
        watches_[number] = kind;
        return true;
    }

    Paths paths_;
    std::function<void()> on_change_;
    std::chrono::milliseconds quiet_;
    asio::posix::stream_descriptor inotify_;
    asio::steady_timer timer_;
    std::map<int, Kind> watches_;
    std::string awaited_;  // the name that must appear in the folder that is watched in CONFIG_DIR's place
    Clock::time_point first_change_;
    bool pending_ = false;
    bool complete_ = false;  // what is pending is all there
    bool closed_ = false;
};

Watcher::Watcher(asio::io_context& io, const Paths& paths, std::function<void()> on_change,
                 std::chrono::milliseconds quiet)
    : impl_(std::make_shared<Impl>(io, paths, std::move(on_change), quiet)) {}

Watcher::~Watcher() { impl_->close(); }

Result<void> Watcher::start() { return impl_->start(); }

void Watcher::close() { impl_->close(); }

}  // namespace lbcluster::config
