// Work for the thread of files, and what follows from it back on the thread of the io_context, unless all was closed
// meanwhile. What the work captures must live until `files` is joined.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <memory>
#include <utility>

namespace lbcluster::replicator {

template <class Work, class Done>
void on_disk(boost::asio::io_context& io, boost::asio::thread_pool& files, const std::shared_ptr<bool>& open, Work work,
             Done done) {
    boost::asio::post(files, [&io, open, work = std::move(work), done = std::move(done)]() mutable {
        auto result = std::make_shared<decltype(work())>(work());
        boost::asio::post(io, [open, result, done = std::move(done)]() mutable {
            if (*open) done(std::move(*result));
        });
    });
}

}  // namespace lbcluster::replicator
