// What the page says, in two languages. English is the key, so that a word without its Chinese does not compile.
// Sentences that the planner, a cloud or an error of hotdesk's says come as they are, in English.
const zh = {
  // states
  ready: "运行中", pending: "启动中", stopping: "关机中", stopped: "已关机", parked: "已停放", saving: "保存中", verifying: "校验中",
  ending: "删除中", unknown: "未知", none: "没有机器", done: "完成", refused: "被拒绝", begun: "进行中",
  // lengths and money
  "{0} s": "{0} 秒", "{0} min": "{0} 分钟", "{0} h": "{0} 小时", "{0} d": "{0} 天", "${0}/h": "${0}/小时", "{0}/h": "{0}/小时", free: "免费", now: "当前",
  "a month for disks and images": "每月（磁盘和镜像）", "{0} a month": "每月 {0}", "from then on": "之后的价格", "for {0}": "已 {0}", "{0} ago": "{0}前",
  "price of {0}": "{0} 的价格", "{0}: {1}": "{0}：{1}",
  // the frame
  Desks: "工位", Views: "视图", Colours: "颜色", system: "跟随系统", light: "浅色", dark: "深色", "To the content": "跳到内容",
  "hotdesk web was started anew: open the address that it printed.": "hotdesk web 已重新启动：请打开它打印的新地址。",
  "hotdesk web does not answer. What you see is of {0}; what is now is not known.": "hotdesk web 没有响应。您看到的是 {0} 的状态，当前状态未知。",
  "Desks and jobs go on without it.": "没有它，工位和任务照常运行。",
  "Nothing is known since {0}: looking again.": "自 {0} 起没有新消息，正在重新查看。",
  // parts
  Copy: "复制", Copied: "已复制", "Copy as command": "复制为命令", Command: "命令", "What to do": "解决办法", Dismiss: "关闭提示", Close: "关闭",
  Cancel: "取消", Password: "密码",
  // verbs
  Open: "打开", Resume: "恢复", Start: "开机", Park: "停放", Stop: "关机", Move: "迁移", Delete: "删除", Stay: "保持", "{0} anyway": "仍然{0}",
  "A machine is launched; the desk is up once a login works and Jupyter answers.": "启动一台机器；能登录且 Jupyter 有响应后，工位就绪。",
  "The desk comes back from its image, on the offer that is best now.": "在当前最合适的机型上，从镜像恢复工位。",
  "The machine is turned on again, with the disk it had.": "重新开机，磁盘保持原样。",
  "Everything is saved in one image, which is read back; only then is the machine deleted.": "把全部内容存入一个镜像并读回校验，之后才删除机器。",
  "The machine is turned off. Its disk stays, and a cloud keeps billing it.": "关闭机器。磁盘保留，云仍会对它计费。",
  "The same desk on other hardware, with everything on it.": "同一个工位换到别的硬件上，内容全部保留。",
  "The machine, its disks, images, keys and the logs of its jobs are deleted. This cannot be undone.": "删除机器及其磁盘、镜像、密钥和任务输出。无法撤销。",
  "Neither idleness nor the lease ends the desk for so long.": "在这段时间内，空闲和租约都不会让工位关机。",
  // steps
  "Launch a machine": "启动一台机器", "Ask for a better place": "询问更好的位置", "Start the machine": "机器开机", "Stop the machine": "机器关机", "Change the machine's type": "更换机型",
  "Take an image": "制作镜像", "Read the image back": "读回校验镜像", "Copy the image": "复制镜像", "Log in, and ask Jupyter": "登录并询问 Jupyter",
  "Its machine is about to be ended; it is parked": "实例即将被云平台结束；已停放", "It has shut itself down; it is parked": "机器已自行关机，正在停放", "Hand over to its new place": "移交到新的位置", "Copy its files to this computer": "把文件复制到本机", "Bring its files to the new machine": "把文件送到新机器", "Enlarge the disk": "扩大磁盘", "Event on the desk": "工位上的事件", "Start a job": "开始任务", "Move a job": "迁移任务",
  Wait: "等待", "Ask you": "需要您决定",
  // the dialog
  "Open a desk": "打开工位", "How long": "多长时间", "45m, 1.5h, 2d": "45m、1.5h、2d", "What will be done": "将要执行的步骤",
  "Nothing: it is so already.": "无需操作：已经是这样了。", "The next best offers": "其他备选", "Works there, and would end": "正在运行，将被终止",
  "Not saved there": "尚未保存", "In no image, and would be lost": "不在任何镜像中，将会丢失", "Open there, and will be closed": "已打开，将被关闭",
  "Type its name to delete it: {0}": "输入名称以确认删除：{0}", Name: "名称", "a-z, 0-9 and hyphens": "a-z、0-9 和连字符", Where: "位置",
  "This computer": "本机", "this computer": "本机", "Where it is": "不变", "Wherever it is best": "最合适的地方", "The places": "各个地方",
  "Goes along": "随行内容", "Stays behind": "带不走的", "{0} files, {1}": "{0} 个文件，{1}", "not counted: {0}": "未统计：{0}",
  "{0} files of data come from their source": "{0} 个数据文件从其来源获取", "cannot be read, and stops the move": "无法读取，迁移会停下",
  "{0} once for traffic, at most": "流量一次性最多 {0}", "{0} for all of it": "全部约需 {0}", "Park when idle for": "空闲多久后停放", "45m, or never": "45m，或 never",
  "Shut down after": "多久后一定关机", "8h, or never": "8h，或 never", "L4, A100:8 or none": "L4、A100:8 或 none", Type: "机型",
  "such as g6.xlarge": "例如 g6.xlarge", Market: "计费方式", "As it was": "保持不变", "As usual": "默认", Cheapest: "最便宜", Spot: "竞价", "On-demand": "按量",
  "At most, $/h": "最高价，$/小时",
  // the other options of a verb, and what is done at a desk that runs
  "More options": "更多选项", "Send files": "发送文件", "Fetch files": "取回文件", "Files, editor, disk": "文件、编辑器、磁盘", "Disk, GiB": "磁盘，GiB",
  "The disk grows while the desk runs, and its file system with it. A disk never gets smaller.": "磁盘在工位运行时扩大，文件系统随之扩大。磁盘不能缩小。",
  "From {0} to {1} GiB": "从 {0} 扩大到 {1} GiB", "its file system grows at the next start": "文件系统在下次开机时扩大", "Its next machine has a disk of {0} GiB.": "下一台机器的磁盘为 {0} GiB。",
  "Straight from one machine to the other": "直接从一台机器到另一台", "Through this computer": "经过本机", "Way of its files": "文件的路径", "What is faster": "更快的那条",
  "line to {0}: {1}": "到 {0} 的线路：{1}", "{0}/s, measured just now": "每秒 {0}（刚刚测得）", "not measured": "未测量",
  "{0} is {1}, unchanged for {2}: it travels, unless hotdesk.toml marks it as data.": "{0} 有 {1}，已 {2}未变：它会随行，除非 hotdesk.toml 把它标为数据。",
  "Deleted by its cloud": "由云平台删除", "in {0}, unless its lease is renewed": "{0}后，除非续租", "Ended by its cloud": "由云平台结束", "in {0}; its disk stays": "{0}后；磁盘保留",
  "Close it again": "重新关闭", "Go on with it": "继续", Data: "数据", Images: "镜像", "What desks come back from, in every place in use.": "工位由它们恢复；列出所有在用的地方。", Size: "大小", Shared: "共用", Until: "保留到",
  "Go on from the newest image that is found, even if later work is lost": "从找到的最新镜像继续，即使之后的工作会丢失", "A login is enough: ~/.bashrc or Jupyter may be broken": "能登录即可：~/.bashrc 或 Jupyter 可以有问题",
  "Tell me when it is done": "完成后通知我", "The image stays at its machine": "镜像留在它的机器上", "The machine off is enough; a watcher saves the rest": "关机后即可离开；看护进程保存其余部分",
  "Keep the logs of its jobs that are on this computer": "保留本机上的任务输出", "As usual again: its limits count from now on": "恢复如常：从现在起按原有限制", "Also past the month's budget": "即使超出本月预算",
  Zone: "可用区", "such as us-west-2b": "例如 us-west-2b", "Base image": "基础镜像", "its id, if not the cloud's own": "编号；默认用云平台的镜像", "Go on from": "从哪里继续", "an image or volume, where several hold work": "有多份工作时，选镜像或磁盘",
  "4h without a sign of this computer, or never": "本机失联 4h 后，或 never", "Where it is sold out, try for": "无货时持续尝试", "2h": "2h", "Its image stays where it was for": "原处的镜像保留", "7d, or 0": "7d，或 0",
  "us-west-2, eu-west-1": "us-west-2, eu-west-1", "Load the disk in full at, MiB/s": "完整加载磁盘的速度，MiB/s", "100 to 300, which is billed": "100 至 300，另行计费",
  "Jupyter without a tunnel": "不经隧道的 Jupyter", "for 203.0.113.0/24, or caller: this computer": "对 203.0.113.0/24；caller 为本机", "For whom": "对谁开放", "203.0.113.0/24; empty: this computer's address": "203.0.113.0/24；留空为本机地址",
  "At the machine's own address, with TLS and the password, until it is closed again.": "使用机器自己的地址，带 TLS 和密码，直到重新关闭。", "Open it": "开放",
  "on this computer, in full: ~/project/data": "本机上的完整路径：~/project/data", "at the desk, from its home on: results": "工位上，相对主目录：results", "at the desk; else its home": "在工位上；默认为主目录",
  "Again, only what has changed is copied. A folder arrives as a folder, and with / behind it as what is in it.": "再次复制时只复制有变化的。文件夹整体到达；末尾加 / 则只复制其中内容。",
  "Files and folders": "文件和文件夹", "To the folder": "目标文件夹", "Also what git and .hotdeskignore leave out": "包括 git 和 .hotdeskignore 忽略的", "{0} files": "{0} 个文件",
  "Your ssh settings do not know this desk yet. Once, in a terminal:": "您的 ssh 配置还不认识这个工位。请在终端执行一次：", "Open in VS Code": "在 VS Code 中打开",
  // desks
  "There is no desk yet. A desk is a machine with your files, Jupyter and a terminal: open it when you need it, leave when you are done, lose nothing.":
    "还没有工位。工位是一台带有您的文件、Jupyter 和终端的机器：需要时打开，用完就走，什么都不会丢。",
  "Looking…": "正在查看…", "Other people's in the same account, left alone": "同一账号中其他人的，不会动它们", "Process {0} watches over them": "进程 {0} 正在看护它们",
  "not known since {0}": "自 {0} 起未知", Machine: "机器", "Cost so far": "已花费", Storage: "存储", Idle: "空闲", "not known": "未知", "not idle": "正在使用", "parks after {0}": "{0}后停放", "never parks by itself": "不会自动停放", Lease: "租约", "Shuts down": "关机时间", "Last image": "最近镜像",
  "It is off and still costs {0}: park it.": "它已关机但仍在计费 {0}：请停放它。",
  "It was to be {0}, and nobody works on that now. This goes on with it:": "目标是“{0}”，但现在没有进程在处理。用它继续：", gone: "删除",
  "Its machine has ended itself; what is left is being parked.": "机器已自行结束，剩余内容正在停放。",
  "Its Jupyter is open to {0}.": "它的 Jupyter 对 {0} 开放。", "Another beginning's {0} is kept.": "另一次创建留下的 {0} 仍被保留。",
  "What works there": "正在运行的内容", "Nothing works there just now.": "目前没有在运行的内容。", "Not saved: {0}": "尚未保存：{0}", "Open: {0}": "已打开：{0}", "stays for another {0}": "再保持 {0}",
  "memory {0} of {1}": "内存 {0} / {1}", "disk {0} of {1}": "磁盘 {0} / {1}", "Another computer's desk; to take it over": "另一台电脑的工位；要接管它", ssh: "ssh", Journal: "日志", "Process {0}": "进程 {0}", "Look again": "再看一次",
  "Opening…": "正在打开…", "It asks for this password once; your browser then stays signed in.": "它会询问一次这个密码，之后浏览器保持登录。", "Open Jupyter": "打开 Jupyter",
  "Forwarded ports": "转发的端口", "Forward a port": "转发端口", "Stop forwarding": "停止转发", "port {0} of the desk": "工位的端口 {0}", Port: "端口",
  "6006, or 8000:80 for port 80 at 8000 here": "6006；8000:80 表示工位的 80 端口在本机为 8000", "It is reached at this computer only, and kept open in the background until it is stopped.": "只能从本机访问，并在后台保持打开，直到停止转发。",
  // tables
  "{0} rows; arrow keys move": "{0} 行；可用方向键移动", Desk: "工位", What: "内容", Id: "编号", Age: "存在时间", Why: "原因", Month: "月份", Total: "合计", Cost: "费用",
  State: "状态", Search: "搜索", all: "全部", any: "任意", both: "两者",
  // money
  Money: "费用", "This month": "本月", Budget: "预算", "of {0}": "共 {0}", "All of it": "累计", "and {0}": "以及 {0}", "Images and disks": "镜像和磁盘", "a month": "每月",
  "Saved by leaving": "离开所省", "had the last machine stayed on": "与一直开机相比", "Nothing has been paid for.": "还没有任何花费。", "By day": "按天", "Stacked by": "分组",
  "by desk": "按工位", "by kind": "按类别", "By month and desk": "按月份和工位", compute: "计算", disk: "磁盘", image: "镜像", address: "地址", transfer: "传输",
  "What has no price in dollars stands beside them: hotdesk.toml has no rate under [money].": "没有美元价格的单独列出：hotdesk.toml 的 [money] 中没有汇率。",
  "Left on": "若一直开机", "US dollars; not counted: {0}": "单位：美元；未计入：{0}", "transfer to the internet (not measured)": "到互联网的流量（未测量）", taxes: "税费", "Dollars by day": "每天的美元花费", "day (UTC)": "日期 (UTC)",
  "Left over": "遗留资源", "What no desk needs, in every cloud and region.": "所有云和地域中，没有工位需要的东西。", "Clean up": "清理",
  "Nothing is left over where we could look.": "能查看的地方没有遗留资源。", "Nothing is left over.": "没有遗留资源。", "Can go": "可删除", yes: "是", ask: "需确认",
  "Not looked at: {0}": "未能查看：{0}", "These hold nothing that is not held elsewhere. They are deleted for good.": "它们不含任何别处没有的内容，将被永久删除。", "Delete {0}": "删除 {0} 项",
  // choosing
  Choose: "选型", "of {0} offers": "/ {0} 个报价", "prices of {0}": "{0} 的价格", "Measuring…": "正在测量…", "Measure latency": "测量延迟", "type, zone, cloud": "机型、可用区、云",
  "any or none": "不限", "GPU memory, GiB": "显存，GiB", "Price against latency": "价格与延迟", "Price against speed": "价格与速度",
  "The line joins what nothing beats in both.": "连线上的报价在两方面都没有更优者。", Plot: "图", speed: "速度", latency: "延迟",
  "No latency is known yet: measure it.": "还不知道延迟：请先测量。", "No GPU is among these, and speeds are of GPUs.": "其中没有 GPU，而速度是按 GPU 计的。",
  "{0} offers by price and by {1}": "{0} 个报价：价格与{1}", "$/h": "$/小时", "ms to the region and back": "到该地域的往返毫秒数", "speed (one T4 = 1)": "速度（一块 T4 = 1）",
  Offers: "报价", Reserved: "已预留", "Paid already: a desk that fits is launched there first, for nothing more.": "已经付费：合适的工位会优先在这里启动，不再另外收费。", "room for {0}": "还可容纳 {0} 台", "until {0}": "到 {0} 为止", "GPU GiB": "显存 GiB", GiB: "内存 GiB", Speed: "速度", "For the same work": "同样工作的费用", Price: "价格", "{0} priced in {1}": "{0} 个以 {1} 计价", "Left out: {0}": "未列入：{0}", "Left out: {0}: hotdesk.toml has no rate to dollars under [money].": "未列入：{0}。hotdesk.toml 的 [money] 中没有对美元的汇率。", "~ is an estimate": "~ 为估计值", "Taken a month": "月中断率", History: "历史", Prices: "价格",
  "Spot prices of {0}": "{0} 的竞价价格", Days: "天数", "Share of time under {0}": "低于 {0} 的时间占比", "on-demand": "按量价", "days ago": "几天前", mean: "均价",
  "time under": "低于的时间", "changes a day": "每天变动", "Spot, about": "竞价，约", Saving: "节省",
  machines: "机器数", "paid hours": "计费小时", regions: "地域", Regions: "地域", Region: "地域", City: "城市", "Named: what no region beats in latency and price. A click shows its offers.": "标出名字的地域在延迟和价格上都没有更优者。点击可查看其报价。",
  "{0} regions by latency and by the lowest price": "{0} 个地域：延迟与最低价", "under {0} ms": "低于 {0} 毫秒", "{0} ms and more": "{0} 毫秒及以上", "The larger, the cheaper.": "越大越便宜。", from: "起价",
  // runs
  Runs: "任务", "There is no job yet. Begin one, in a project's folder:": "还没有任务。在项目文件夹里开始一个：", "number, desk, command": "编号、工位、命令",
  Job: "任务", Exit: "退出码", Ran: "已运行", Tries: "次数", Deadline: "截止时间", "in {0}": "{0}后", Asked: "提交于", "Job {0}": "任务 {0}", "Cancel the job": "取消任务",
  "{0} attempts": "{0} 次尝试", Checkpoints: "检查点", "It gets SIGTERM, and SIGKILL if it does not end. What it wrote stays at the desk.": "先发送 SIGTERM，若不结束再发 SIGKILL。已写入的内容留在工位上。",
  "Leave it": "保留", "It has said nothing.": "没有任何输出。", Log: "输出", "{0} of {1} lines": "{0} / {1} 行", "Search the log": "搜索输出", Download: "下载", "What it used": "资源使用", memory: "内存", "GPU memory": "显存", minutes: "分钟", hours: "小时", "{0} % done": "已完成 {0}%", "deadline in {0}": "{0}后截止", "deadline {0} ago": "截止时间已过 {0}", "It would be done {0} after the deadline.": "预计比截止时间晚 {0}完成。", "If much goes wrong, it would be done {0} after the deadline.": "若诸事不顺，会比截止时间晚 {0}完成。", "{0} to {1}": "{0} 至 {1}",
  "a command": "一条命令", Folder: "文件夹", "on this computer; it is copied to the desk": "在本机；会复制到工位", "Run time": "运行时间", "if known: 10h": "若已知：10h", Afterwards: "结束后", "as usual: park": "默认：停放", "as the job says": "按任务设置",
  "{0} files are copied from {1}": "从 {1} 复制 {0} 个文件", "Then it runs: {0}": "然后运行：{0}", "It waits for job {0}.": "等任务 {0} 结束后开始。", "which runs already": "已在运行", "about {0} for {1} of work": "{1} 的工作约 {0}", "Run it all the same": "仍然运行",
  "There is no desk yet: open one first.": "还没有工位：请先打开一个。",
  "job running": "运行中", "job waiting": "等待中", "job interrupted": "被中断", "job ended": "已结束", "job done": "完成", "job failed": "失败", "job cancelled": "已取消", "job lost": "已丢失",
  "job starting": "启动中", "job stopping": "正在终止", "job ending": "收尾中", "job stopped": "已提前停止", "job up": "运行中", "job wanted": "准备中", "job leaving": "正在撤下", "job gone": "已删除",
  // sweeps
  Sweeps: "参数扫描", Sweep: "参数扫描", "Sweep {0}": "参数扫描 {0}", Tasks: "子任务", Task: "子任务", "Task {0}": "子任务 {0}", Done: "完成", Failed: "失败", "There is no sweep yet. Begin one, in a project's folder:": "还没有参数扫描。在项目文件夹里开始一个：",
  "{0} of {1} tasks": "{0} / {1} 个子任务", "Price now": "当前价格", "about {0} left": "大约还需 {0}", "nothing runs": "没有在运行的", "{0} of {1} up": "{0} / {1} 台运行中", "Machine time": "机器时间", "Each machine": "各台机器",
  "Nobody goes on with it now. This does:": "现在没有进程在继续它。用它继续：", Address: "地址", Processors: "处理器", "number, parameter, machine, last line": "编号、参数、机器、最后一行",
  "Parameters and {0}": "参数与 {0}", Metric: "指标", Best: "最好", "the lowest": "最低", "the highest": "最高", "Coloured: the best tenth. A click on a line chooses its task; the table below has the same values.": "彩色：最好的十分之一。点击一条线选择其子任务；下方表格有相同的数值。",
  "No task is done yet that told a number.": "还没有已完成且输出数值的子任务。", seconds: "秒", "Retry {0}": "重试 {0} 个", "Cancel the sweep": "取消扫描", 
  "What runs is ended, what is done is kept, and the machines are deleted.": "正在运行的会被终止，已完成的保留，机器会被删除。",
  "These run again; what is done stays done. Its machines are started anew where they are gone.": "这些会重新运行；已完成的保持不变。机器若已删除会重新启动。",
  "Last line": "最后一行", "{0} lost with their machine": "{0} 次随机器丢失", "As CSV": "导出为 CSV", "Attempts": "尝试",
  // the terminal
  Terminal: "终端", "Terminal of {0}": "{0} 的终端", connected: "已连接", "The connection was cut; trying again…": "连接中断，正在重试…", "The terminal has ended.": "终端已结束。", "Open again": "重新打开", "To the desks": "返回工位",
  "There is no desk {0}.": "没有工位 {0}。", "A terminal is there while the desk runs.": "工位运行时才有终端。",
  "At the desk it is one tmux session: close this, come back, or look from another browser. Ctrl+F6 leaves the terminal; Shift selects with the mouse, Ctrl+Shift+C copies, Ctrl+Shift+V pastes.":
    "在工位上它是同一个 tmux 会话：可以关闭、再回来，或从另一个浏览器查看。Ctrl+F6 离开终端；按住 Shift 用鼠标选择，Ctrl+Shift+C 复制，Ctrl+Shift+V 粘贴。",
  "Cancel {0}": "取消 {0} 个", "Cancel task {0}": "取消子任务 {0}", "What of these runs is ended, what waits does not begin; the rest goes on.": "其中正在运行的会被终止，等待的不再开始；其余继续。",
  "Start a sweep": "开始参数扫描", "each machine starts from its image": "每台机器从它的镜像启动", "on this computer": "在本机", "{lr} is the value of lr": "{lr} 表示 lr 的值", Parameters: "参数",
  "one on each line: a list, a range or a distribution": "每行一个：列表、范围或分布", "Tasks that share a GPU": "共用一块 GPU 的子任务数", Samples: "采样次数", "of distributions": "用于分布", "Limits and results": "限制与结果",
  "Attempts after a failure": "失败后重试次数", "Longest run of one": "单个最长运行时间", "Fetch from each task": "从每个子任务取回", Checkpoint: "检查点", "a folder that follows a task to another machine": "随子任务转到另一台机器的文件夹", "No greater one, GiB": "大小上限，GiB", "It goes on at {0}. Here again with:": "它在 {0} 上继续。要回到本机：", "{0} tasks on {1} machines": "{0} 个子任务，{1} 台机器", "and {0} more": "以及另外 {0} 个",
  "Agree, and look again": "同意，再看一次",
  // planning
  Plan: "规划", "What a job costs in all, and when it is done: from the order to the saved results.": "一个任务总共花多少钱、何时完成：从下单到结果保存。",
  "Work, hours on one machine": "工作量，单机小时", Machines: "机器数", "Start-up, minutes": "启动时间，分钟", "Data to bring, GiB": "要传的数据，GiB", "Deadline, hours from now": "截止时间，几小时后", "Budget, $": "预算，$",
  "GPU of known offers": "已知报价中的 GPU", "Price of a machine, $/h": "每台价格，$/小时", "1 machine": "1 台机器", "Machines work": "机器的工作方式",
  independently: "各做一部分", "in step": "同步进行", "Best value": "最划算", Fastest: "最快", "{0} machines": "{0} 台机器", "in 9 of 10 cases done in {0}": "十次有九次在 {0}内完成",
  "Nothing keeps the deadline and the budget.": "没有方案能同时满足截止时间和预算。", "Dollars against time": "费用与时间",
  "The line joins what nothing beats in both; the bars are 9 of 10 cases.": "连线上的方案在两方面都没有更优者；横竖线表示十有八九的范围。", "The plans on the line": "连线上的方案",
  "a machine": "未指定机型", each: "每台", "Done in": "用时", "9 of 10": "九成情况", "Paid hours per hour of work": "每小时工作的计费小时", "hours until it is done": "完成所需小时", deadline: "截止", budget: "预算",
  "{0} paid hours for one hour of work": "每小时工作计费 {0} 小时",
  // the doctor
  Doctor: "诊断", "Mend what is safe": "修复可安全修复的", wrong: "有问题", "worth knowing": "值得注意", "in order": "正常", Settings: "设置", "Written.": "已保存。",
  "It can be used as it is.": "可以使用。", Undo: "撤销", Save: "保存",
} as const;

export type Word = keyof typeof zh;

let current = localStorage.getItem("language") ?? (navigator.language.startsWith("zh") ? "zh" : "en");

export const language = (): string => current;

export function setLanguage(name: string): void {
  current = name;
  localStorage.setItem("language", name);
}

/** Whether this is one of the page's own words. */
export const said = (word: string): word is Word => word in zh;

const english: Partial<Record<Word, string>> = { ready: "running", none: "without a machine" };

/** Words beside one another, as the language lists them. */
export const list = (words: readonly string[]): string => words.join(current === "zh" ? "、" : ", ");

/** A word in the language that is chosen; {0}, {1} are replaced by the values. */
export function t(word: Word, ...values: (string | number)[]): string {
  const text: string = current === "zh" ? zh[word] : (english[word] ?? word.replace(/^job (?=[a-z])/, ""));
  return text.replace(/\{(\d)\}/g, (_, n: string) => String(values[Number(n)] ?? ""));
}
