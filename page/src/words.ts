// What the page says, in two languages. English is the key, so that a word without its Chinese does not compile.
// Sentences that the planner, a cloud or an error of hotdesk's says come as they are, in English.
const zh = {
  // states
  ready: "运行中", pending: "启动中", stopping: "关机中", stopped: "已关机", parked: "已封存", saving: "保存中", verifying: "校验中",
  ending: "删除中", unknown: "未知", none: "没有机器", done: "完成", refused: "被拒绝", begun: "进行中",
  // lengths and money
  "{0} s": "{0} 秒", "{0} min": "{0} 分钟", "{0} h": "{0} 小时", "{0} d": "{0} 天", "${0}/h": "${0}/小时", free: "免费", now: "当前",
  "a month for disks and images": "每月（磁盘和镜像）", "{0} a month": "每月 {0}", "from then on": "之后的价格", "for {0}": "已 {0}", "{0} ago": "{0}前",
  "price of {0}": "{0} 的价格",
  // the frame
  Desks: "工作台", Views: "视图", Colours: "颜色", system: "跟随系统", light: "浅色", dark: "深色", "To the content": "跳到内容",
  "hotdesk web was started anew: open the address that it printed.": "hotdesk web 已重新启动：请打开它打印的新地址。",
  "hotdesk web does not answer. What you see is of {0}; what is now is not known.": "hotdesk web 没有响应。您看到的是 {0} 的状态，当前状态未知。",
  "Desks and jobs go on without it.": "没有它，工作台和任务照常运行。",
  "Nothing is known since {0}: looking again.": "自 {0} 起没有新消息，正在重新查看。",
  // parts
  Copy: "复制", Copied: "已复制", "Copy as command": "复制为命令", Command: "命令", "What to do": "解决办法", Dismiss: "关闭提示", Close: "关闭",
  Cancel: "取消", Password: "密码",
  // verbs
  Open: "打开", Resume: "恢复", Start: "开机", Park: "封存", Stop: "关机", Move: "迁移", Delete: "删除", Stay: "保持", "{0} anyway": "仍然{0}",
  "A machine is launched; the desk is up once a login works and Jupyter answers.": "启动一台机器；能登录且 Jupyter 有响应后，工作台就绪。",
  "The desk comes back from its image, on the offer that is best now.": "在当前最合适的机型上，从镜像恢复工作台。",
  "The machine is turned on again, with the disk it had.": "重新开机，磁盘保持原样。",
  "Everything is saved in one image, which is read back; only then is the machine deleted.": "把全部内容存入一个镜像并读回校验，之后才删除机器。",
  "The machine is turned off. Its disk stays, and a cloud keeps billing it.": "关闭机器。磁盘保留，云仍会对它计费。",
  "The same desk on other hardware, with everything on it.": "同一个工作台换到别的硬件上，内容全部保留。",
  "The machine, its disks, images and keys are deleted. This cannot be undone.": "删除机器及其磁盘、镜像和密钥。无法撤销。",
  "Neither idleness nor the lease ends the desk for so long.": "在这段时间内，空闲和租期都不会让工作台关机。",
  // steps
  "Launch a machine": "启动一台机器", "Start the machine": "机器开机", "Stop the machine": "机器关机", "Change the machine's type": "更换机型",
  "Take an image": "制作镜像", "Read the image back": "读回校验镜像", "Copy the image": "复制镜像", "Log in, and ask Jupyter": "登录并询问 Jupyter",
  "It has shut itself down; it is parked": "机器已自行关机，正在封存", "Event on the desk": "工作台上的事件", "Start a job": "开始任务", "Move a job": "迁移任务",
  Wait: "等待", "Ask you": "需要您决定",
  // the dialog
  "Open a desk": "打开工作台", "How long": "多长时间", "45m, 1.5h, 2d": "45m、1.5h、2d", "What will be done": "将要执行的步骤",
  "Nothing: it is so already.": "无需操作：已经是这样了。", "The next best offers": "其他备选", "Works there, and would end": "正在运行，将被终止",
  "Not saved there": "尚未保存", "In no image, and would be lost": "不在任何镜像中，将会丢失", "Open there, and will be closed": "已打开，将被关闭",
  "Type its name to delete it: {0}": "输入名称以确认删除：{0}", Name: "名称", "a-z, 0-9 and hyphens": "a-z、0-9 和连字符", Where: "位置",
  "This computer": "本机", "this computer": "本机", "Park when idle for": "空闲多久后封存", "45m, or never": "45m，或 never",
  "Shut down in any case after": "无论如何在此之后关机", "8h, or never": "8h，或 never", "L4, A100:8 or none": "L4、A100:8 或 none", Type: "机型",
  "such as g6.xlarge": "例如 g6.xlarge", Market: "计费方式", "As it was": "保持不变", Cheapest: "最便宜", Spot: "竞价", "On-demand": "按量",
  "At most, $/h": "最高价，$/小时",
  // desks
  "There is no desk yet. A desk is a machine with your files, Jupyter and a terminal: open it when you need it, leave when you are done, lose nothing.":
    "还没有工作台。工作台是一台带有您的文件、Jupyter 和终端的机器：需要时打开，用完就走，什么都不会丢。",
  "Looking…": "正在查看…", "Other people's in the same account, left alone": "同一账号中其他人的，不会动它们", "Process {0} watches over them": "进程 {0} 正在看护它们",
  "not known since {0}": "自 {0} 起未知", Machine: "机器", "Cost so far": "已花费", Storage: "存储", "Parks when idle for": "空闲后封存", "Last image": "最近镜像",
  "It is off and still costs {0}: park it.": "它已关机但仍在计费 {0}：请封存它。",
  "Its machine has ended itself; what is left is being parked.": "机器已自行结束，剩余内容正在封存。",
  "Its Jupyter is open to {0}.": "它的 Jupyter 对 {0} 开放。", "Another beginning's {0} is kept.": "另一次创建留下的 {0} 仍被保留。",
  "Another computer's desk; to take it over": "另一台电脑的工作台；要接管它", ssh: "ssh", Journal: "日志", "Process {0}": "进程 {0}", "Look again": "再看一次",
  "Opening…": "正在打开…", "It asks for this password once; your browser then stays signed in.": "它会询问一次这个密码，之后浏览器保持登录。", "Open Jupyter": "打开 Jupyter",
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

/** A word in the language that is chosen; {0}, {1} are replaced by the values. */
export function t(word: Word, ...values: (string | number)[]): string {
  const text: string = current === "zh" ? zh[word] : (english[word] ?? word);
  return text.replace(/\{(\d)\}/g, (_, n: string) => String(values[Number(n)] ?? ""));
}
