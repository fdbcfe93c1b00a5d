#include "pipeline/worker_pool.h"

#include <functional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "core/bounded_queue.h"
#include "core/throw.h"
#include "core/timeline.h"

namespace reelm::pipeline {

struct WorkerPool::Impl {
  using Task = std::packaged_task<Answer()>;

  Impl(Engine& engine_in, std::size_t queue_capacity) : engine(engine_in), queue(queue_capacity) {}

  void start() {
    const int count = engine.replicas();
    threads.reserve(static_cast<std::size_t>(count));
    try {
      for (int i = 1; i <= count; ++i) threads.emplace_back([this, i] { work(i); });
    } catch (const std::system_error& e) {
      close();
      throw_error(ErrorCode::kOutOfMemory, "no thread for worker {} of {}: {}", threads.size() + 1,
                  count, e.what());
    }
  }

  void work(int number) noexcept {
    while (std::optional<Task> task = queue.pop()) {
      const TimelineLane lane(lanes::kRequestWorker, number);
      note_depth();
      (*task)();  // what it throws goes to the future
    }
  }

  std::future<Answer> submit(Request request, std::function<Answer(const Request&)> answer) {
    const CancelToken* const cancel = request.cancel;
    Task task([request = std::move(request), answer = std::move(answer)] {
      if (request.cancel != nullptr) request.cancel->check();
      return answer(request);
    });
    std::future<Answer> out = task.get_future();
    if (!queue.push(std::move(task), cancel)) {
      throw Error(ErrorCode::kInvalidArgument, "the worker pool is closed: it takes no requests");
    }
    note_depth();
    return out;
  }

  void note_depth() const {
    if (!Timeline::on()) return;
    Timeline::count("requests", {"waiting", static_cast<std::int64_t>(queue.size())});
  }

  void close() noexcept {
    queue.close();
    for (std::thread& thread : threads) {
      if (thread.joinable()) thread.join();
    }
  }

  Engine& engine;
  BoundedQueue<Task> queue;
  std::vector<std::thread> threads;
};

WorkerPool::WorkerPool(Engine& engine, std::size_t queue_capacity) {
  if (queue_capacity == 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "the worker pool's queue has room for 0 requests, expected 1 or more");
  }
  telling_out_of_memory([&] {
    impl_ = std::make_unique<Impl>(engine, queue_capacity);
    impl_->start();
  });
}

WorkerPool::~WorkerPool() {
  if (impl_ != nullptr) impl_->close();
}

std::future<Answer> WorkerPool::submit(Request request) {
  return telling_out_of_memory([&] {
    return impl_->submit(std::move(request),
                         [&engine = impl_->engine](const Request& r) { return engine.ask(r); });
  });
}

std::future<Answer> WorkerPool::submit(Session& session, Request request) {
  return telling_out_of_memory([&] {
    return impl_->submit(std::move(request),
                         [&session](const Request& r) { return session.ask(r); });
  });
}

void WorkerPool::close() noexcept { impl_->close(); }

std::size_t WorkerPool::workers() const noexcept { return impl_->threads.size(); }

}  // namespace reelm::pipeline
