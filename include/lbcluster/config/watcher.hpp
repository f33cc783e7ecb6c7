// Notices changes of node.yaml, cluster.yaml, files/ and the key of the heartbeats by inotify and calls back once for a
// burst of them: an editor that writes a temporary file and renames it, a revision that is put in force in several
// steps. Does not read the files: a callback means "look again", and one too many does no harm. The key's folder is
// noticed if it is there at start(), or with the next change of the others.
//
// Works when CONFIG_DIR does not exist yet, or is removed and made again: then the nearest folder above it is watched.
// Bounded: folders_max watches below files/. One thread: the callback comes on the thread that runs the io_context.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "lbcluster/base/result.hpp"
#include "lbcluster/config/paths.hpp"

namespace boost::asio {
class io_context;
}

namespace lbcluster::config {

class Watcher {
  public:
    static constexpr std::size_t folders_max = 64;

    // The callback comes `quiet` after the last change of a burst, at the latest 10 x `quiet` after the first; at once
    // when one of the functions of store.hpp has put something in force.
    Watcher(boost::asio::io_context& io, const Paths& paths, std::function<void()> on_change,
            std::chrono::milliseconds quiet = std::chrono::milliseconds(50));
    ~Watcher();  // no callback comes after it
    Watcher(const Watcher&) = delete;
    Watcher& operator=(const Watcher&) = delete;
    Watcher(Watcher&&) = delete;
    Watcher& operator=(Watcher&&) = delete;

    // Fails if the kernel gives no inotify instance; then only SIGHUP makes a daemon look again.
    Result<void> start();
    void close();

  private:
    class Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace lbcluster::config
