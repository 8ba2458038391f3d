"""Everyday dialogues that the embedded ladder is pretrained on.

They stand in for what a downloaded chat model has read: small talk about food, films and flats, never about the
chat that is being labelled. Topics, names, templates and content words are disjoint from the simulated group chat
(a test asserts it); only the function words of the language are shared, as between any two texts.

The question that each dialogue ends in is labelled by rule: it *needs* its history where something it refers to is
said there. Source of the idea: arXiv 2405.02817, section 3.
"""

import random
from collections.abc import Iterator
from typing import NamedTuple

#: Kinds of things with one-word nouns, each with questions that are asked of that kind alone.
KINDS: dict[str, tuple[str, ...]] = {
    "餐厅": ("人均要花多少钱", "晚上几点打烊", "需要提前订位吗", "有没有包间", "招牌菜是哪一道"),
    "电影": ("有几个小时", "结局是好是坏", "适合带小孩看吗", "主角是谁演的", "什么时候下映"),
    "歌": ("是谁唱的", "哪一年发行的", "难不难唱", "有没有伴奏", "歌词讲的是什么"),
    "小说": ("一共多少章", "作者还写过什么", "完结了吗", "哪里能买到", "好不好看"),
    "公寓": ("月租多少", "能养猫吗", "离地铁有多远", "朝南还是朝北", "押金怎么退"),
    "医院": ("周日看诊吗", "怎么挂号", "停车方便吗", "要排多久的队", "能刷医保卡吗"),
    "游戏": ("几个人一起玩", "要不要充钱", "新手好上手吗", "能联机吗", "通关要多久"),
    "蛋糕": ("甜不甜", "要烤几分钟", "放多少糖", "能放几天", "几寸够六个人吃"),
    "手表": ("防水吗", "走得准不准", "保修几年", "表带能换吗", "值不值这个价"),
    "老师": ("教几年级", "严不严", "脾气怎么样", "下学期还带班吗", "讲课清楚吗"),
    "航班": ("几点起飞", "会不会晚点", "能带几公斤行李", "有早餐吗", "怎么改签"),
    "酒店": ("含早餐吗", "几点退房", "离海边多远", "房间大不大", "可以加床吗"),
    "球队": ("今年排第几", "教练是谁", "下一场踢谁", "主场在哪", "还有希望夺冠吗"),
    "药": ("饭前吃还是饭后吃", "一天几次", "孕妇能吃吗", "有什么副作用", "多久见效"),
    "猫": ("几岁了", "掉毛厉害吗", "打过疫苗没有", "吃什么粮", "为什么老是叫"),
    "公园": ("要门票吗", "能野餐吗", "有没有湖", "几点关门", "哪个门离得近"),
    "相机": ("重不重", "电池耐用吗", "夜景拍得怎样", "镜头能换吗", "多少钱入手的"),
    "汽车": ("油耗多少", "后排挤不挤", "保养贵吗", "几年质保", "自动挡还是手动挡"),
    "画展": ("展到哪天", "要预约吗", "能拍照吗", "谁的作品", "在几楼"),
    "茶": ("苦不苦", "用几度的水", "产在哪里", "一斤多少钱", "晚上喝会睡不着吗"),
    "鞋": ("偏大还是偏小", "磨脚吗", "有几个颜色", "下雨天滑不滑", "能退吗"),
    "乐队": ("来过咱们这儿吗", "有几个人", "解散了吗", "演出票难抢吗", "鼓手换了没有"),
    "山": ("多高", "爬上去要多久", "有缆车吗", "冬天能去吗", "山顶冷不冷"),
    "面馆": ("辣不辣", "汤能续吗", "在哪条街", "排队久不久", "几点开门"),
    "健身房": ("年卡多少", "有游泳池吗", "教练专业吗", "几点人少", "能请假停卡吗"),
    "裙子": ("什么料子", "会不会缩水", "适合上班穿吗", "有大码吗", "配什么颜色的包"),
    "耳环": ("会过敏吗", "是纯银的吗", "掉色没有", "哪儿买的", "有同款项链吗"),
    "植物": ("几天浇一次水", "要晒太阳吗", "为什么叶子发黄", "会开花吗", "能放卧室吗"),
    "冰箱": ("费电吗", "声音吵不吵", "能放多少东西", "要不要除霜", "送货上门吗"),
    "餐桌": ("多长", "能坐几个人", "是实木的吗", "要自己组装吗", "有没有味道"),
    "导游": ("会说英语吗", "一天多少钱", "路熟吗", "怎么联系上的", "推荐购物吗"),
    "纪录片": ("一共几集", "在哪个台放", "旁白是谁", "讲的是哪里", "小朋友看得懂吗"),
    "香水": ("留香多久", "浓不浓", "适合夏天吗", "前调是什么", "专柜多少钱"),
    "邻居": ("搬来多久了", "做什么工作", "好相处吗", "几楼的", "晚上吵不吵"),
    "自行车": ("多少斤", "能折叠吗", "变速顺不顺", "轮胎该换了吗", "骑着累不累"),
    "婚礼": ("定在哪天", "请了多少人", "在室内还是户外", "谁当司仪", "份子钱给多少"),
}
#: More one-word nouns, asked about in general terms: the model must match a noun it has seen once or never.
MORE_KINDS = tuple(
    "沙发 台灯 窗帘 地毯 书架 花瓶 杯子 毛巾 枕头 闹钟 雨伞 钱包 背包 帽子 围巾 手套 袜子 毛衣 外套 衬衫 口红 面霜 香皂 牙刷 剪刀 钢琴 吉他 鼓 小提琴 笛子 "
    "油画 邮票 硬币 风筝 拼图 积木 玩偶 滑板 帐篷 睡袋 鱼竿 篮球 羽毛球 乒乓球 泳衣 瑜伽垫 哑铃 跑鞋 火锅 饺子 米粉 豆腐 牛排 烤鸭 寿司 披萨 沙拉 酸奶 果汁 咖啡 "
    "啤酒 红酒 巧克力 饼干 西瓜 草莓 榴莲 芒果 橙子 幼儿园 驾校 银行 邮局 理发店 花店 药店 书店 超市 菜场 车站 码头 寺庙 古镇 沙滩 温泉 动物园 博物馆 剧院 "
    "司机 厨师 护士 医生 律师 保姆 房东 中介 同桌 表哥 演员 导演 歌手 主持人 快递 外卖 红包 保险 彩票 签证 护照 驾照 简历 合同 发票 礼物 照片 日记 节目 舞蹈 比赛".split()
)
#: Questions that may be asked of anything.
ANY_QUESTIONS = (
    "好不好", "贵不贵", "你们觉得怎么样", "值得吗", "到底行不行", "是真的吗", "还有吗", "在哪里", "多少钱", "哪天有空一起去看",
    "你是怎么知道的", "有没有更便宜的", "谁推荐的", "划算吗", "是不是涨价了", "最后选了没有", "靠谱吗", "有什么讲究", "跟去年比怎么样", "为什么这么火",
    "how much is it", "is it any good", "where can i find it", "who told you about it", "when does it close",
)  # fmt: skip
SYLLABLES = tuple("青禾云栖海棠松月南山白鹭星河拾光锦里春晓竹影听雨半夏朝暮鹿鸣长安归雁流萤望舒紫薇丹枫")
#: The 3,755 common hanzi: level 1 of GB2312 is rows 16 to 55, the last of them short.
HANZI = tuple(
    bytes((0xA0 + row, 0xA0 + cell)).decode("gb2312")
    for row in range(16, 56)
    for cell in range(1, 95 if row < 55 else 90)
)

NAMED = (
    "{e}{q}", "请教下{e}{q}", "{e}这家{q}", "有谁了解{e}{q}", "想打听一下{e}{q}", "{e}那个{n}{q}", "{e}这个{n}{q}", "大家说{e}{q}",
    "{n}{e}{q}", "求问{e}{q}", "{e}的话{q}", "我想知道{e}{q}", "听说有个叫{e}的{n}，{q}", "hi all，{e}{q}", "{q}，我说的是{e}", "谁去过或者用过{e}，{q}",
)  # fmt: skip
WITH_NOUN = (
    "这个{n}{q}", "那个{n}{q}", "你说的{n}{q}", "刚提到的{n}{q}", "那{n}{q}", "这{n}{q}", "所以那个{n}{q}", "请教下这个{n}{q}",
    "上面那个{n}{q}", "你们讲的那个{n}{q}", "{q}，这个{n}", "话说这个{n}{q}",
)  # fmt: skip
PRONOUN = (
    "它{q}", "这个{q}", "那个{q}", "那它{q}", "这{q}", "请教下这个{q}", "那这个{q}", "话说它{q}", "它到底{q}", "你说的那个{q}", "{q}，这个", "这种{q}",
)  # fmt: skip
DROPPED = (
    "{q}",
    "那{q}",
    "请教下{q}",
    "话说{q}",
    "所以{q}",
    "一般{q}",
    "{q}呀",
    "想打听一下{q}",
    "谁知道{q}",
    "另外{q}",
)
SAME_MESSAGE = (
    "我看中了{e}，它{q}", "朋友送了我{e}，这个{q}", "昨天碰见{e}，{q}", "我们选了{e}这个{n}，它{q}", "下周轮到{e}，那个{n}{q}", "{e}我没见过，这个{n}{q}",
    "打算选{e}了，{q}", "妈妈老提{e}，{q}", "i saw {e} yesterday，它{q}", "都在夸{e}，这{n}{q}", "有个{n}叫{e}，它{q}", "路过{e}，顺便问它{q}",
)  # fmt: skip
INCOMPLETE = (
    "{e}那件事后来怎么样了", "{e}刚才说的那种办法行吗", "{e}上次讲的问题解决没有", "{e}的那个毛病好了没", "你说{e}的那个原因是什么", "{e}那天的事谁清楚",
    "{e}是按你讲的那样办的吗", "{e}那个麻烦怎么处理的",
)  # fmt: skip
MENTIONS = (
    "{e}这个{n}真不错", "昨天去看了{e}", "我家附近有个{n}叫{e}", "{e}又上热搜了", "终于拿到{e}了", "推荐一个{n}，{e}", "{n}的话我选{e}",
    "朋友圈都在发{e}", "{e}，老{n}了", "本来想选别的{n}，最后还是{e}", "{e}涨价了", "刚从{e}回来", "我妹妹特别喜欢{e}", "找了半天{n}，定了{e}", "{e} is great",
    "这个月第三次提{e}了", "别的{n}都没有{e}好", "{e}今天打折", "{e}那个{n}我熟", "{e}出了点问题，正在想办法", "{e}{q}",
)  # fmt: skip
MENTIONS_WITH_NOUN = tuple(mention for mention in MENTIONS if "{n}" in mention)
REPLIES = (
    "还可以", "我觉得行", "没试过", "上次听人讲过", "不清楚", "应该是吧", "要看情况", "差不多", "反正我挺满意", "不太推荐", "自己去看看嘛", "我也想知道", "别着急",
    "等周末再说", "得问问行家", "说来话长", "一般般", "比想象的好", "跟我想的不一样", "已经三年了", "八十多块", "从左边走", "记得带伞", "先打个电话", "maybe later",
    "i think so", "not sure", "下午我去看一眼", "多谢提醒", "好嘞",
)  # fmt: skip
SMALL_TALK = (
    "早上好呀", "今天真冷", "困死我了", "刚吃完饭", "周末快乐", "嘿嘿", "晚安各位", "下雨了", "堵在路上", "又是周一", "快放假了", "抱抱", "笑死", "天气真好", "准备睡了",
    "好久不见", "新年快乐", "手机没电了", "楼下好吵", "出门遛弯", "喝口水", "好饿", "[表情]", "[照片]", "good morning", "lol", "在外面", "刚下班", "眼睛酸", "歇会儿",
)  # fmt: skip
MARKS = ("？", "？", "？", "?", "", "", "呢？", "~")
JUNK = "丶彡灬氵〇＃％＆＊＠￥…—々〆ゞ"

#: Ends of a question about an invented word {w}: function words that any question is built with.
ENDINGS = (
    "{w}怎么样", "{w}多少", "{w}吗", "{w}好不好", "{w}是什么", "{w}在哪", "{w}要多久", "{w}够不够", "有没有{w}", "会不会{w}", "什么时候{w}", "需要{w}吗", "怎么{w}",
    "可以{w}吗", "为什么{w}", "能{w}吗", "{w}有几个", "{w}行不行", "哪里{w}", "是不是{w}", "{w}和{w}哪个好", "谁{w}", "要不要{w}", "{w}大不大", "该{w}哪个", "do we {l} it",
    "how to {l} it", "is it {l}", "what {l} does it have", "can it {l}",
)  # fmt: skip
POINTING = (
    "这个",
    "那个",
    "这",
    "那",
    "这款",
    "那款",
    "此",
    "该",
    "同一个",
    "前一个",
    "最后那个",
    "他的那个",
)
LATIN_SHAPES = (
    "{a}{b}",
    "{A}{b}",
    "{A}{B}",
    "{a}-{b}",
    "{A}-{d}",
    "{a}_{b}",
    "{a}.{c}",
    "{A} {d}",
    "{A}{d}",
    "{a}_{b}.{c}",
    "{A}{B} {b}",
    "{a}{d}",
)
CONSONANTS, VOWELS = "bcdfghjklmnprstvwxz", "aeiou"

#: How often each form is asked; the first four need history only where it holds an antecedent.
FORMS = (
    ("with_noun", 26),
    ("pronoun", 16),
    ("dropped", 16),
    ("incomplete", 8),
    ("named", 18),
    ("same_message", 16),
)
JUNK_SHARE = 0.04
#: How much of what is said is made of invented words. A model that knew only the phrases above would know them by
#: heart; one that has met every hanzi in a role it did not learn by heart reads the roles.
INVENTED_SHARE = 0.5


class Dialogue(NamedTuple):
    """A window of (sender, text), oldest first, the question that follows it, and its label."""

    window: list[tuple[str, str]]
    sender: str
    text: str
    label: str  # needed, not_needed or unknown
    form: str


class _Thing(NamedTuple):
    noun: str
    name: str


def dialogues(count: int, seed: int) -> Iterator[Dialogue]:
    """Yield ``count`` labelled dialogues, the same ones for the same ``seed``."""
    rng = random.Random(f"world:{seed}")
    for _ in range(count):
        yield _junk(rng) if rng.random() < JUNK_SHARE else _dialogue(rng)


def _dialogue(rng: random.Random) -> Dialogue:
    form = rng.choices([name for name, _ in FORMS], weights=[weight for _, weight in FORMS])[0]
    thing = _thing(rng)
    said = form not in ("named", "same_message") and rng.random() < 0.6
    others = [_thing(rng) for _ in range(rng.choice((0, 1, 1, 2)))]
    if form in ("pronoun", "dropped") and not said:
        others = []  # nothing in sight that the pronoun could mean
    if form in ("named", "same_message") and rng.random() < 0.4:
        others = [thing, *others]
    window = _window(rng, ([thing] if said else []) + others, noun_said=form == "with_noun")
    label = "needed" if said else "not_needed"
    return Dialogue(window, _sender(rng), _question(rng, form, thing), label, form)


def _question(rng: random.Random, form: str, thing: _Thing) -> str:
    templates = {
        "with_noun": WITH_NOUN,
        "pronoun": PRONOUN,
        "dropped": DROPPED,
        "incomplete": INCOMPLETE,
        "named": NAMED,
        "same_message": SAME_MESSAGE,
    }[form]
    if rng.random() < INVENTED_SHARE:
        opening = rng.choice(("", _word(rng), _word(rng) + "，", _word(rng) + _word(rng)))
        pointing = rng.choice(POINTING)
        invented = {
            "with_noun": f"{opening}{pointing}{{n}}{{q}}",
            "pronoun": f"{opening}{rng.choice(('它', '这个', '那个', '这', pointing))}{{q}}",
            "dropped": f"{opening}{{q}}",
            "incomplete": f"{{e}}{pointing}{_word(rng)}{rng.choice(ENDINGS).format(w=_word(rng), l=_latin(rng))}",
            "named": f"{opening}{rng.choice(('{e}', '{e}', '{n}{e}', '{e}{n}'))}{{q}}",
            "same_message": f"{opening}{{e}}{_word(rng)}，{rng.choice(('', '它', pointing, pointing + '{n}'))}{{q}}",
        }[form]
        return _fill(rng, invented, thing) + rng.choice(MARKS)
    return _fill(rng, rng.choice(templates), thing) + rng.choice(MARKS)


def _window(rng: random.Random, things: list[_Thing], noun_said: bool = False) -> list[tuple[str, str]]:
    """At most 12 messages; every thing is mentioned, in random places, with its noun if ``noun_said``."""
    length = max(2 * len(things), rng.choice((0, 4, 8, 12, 12, 12)))
    texts = [_chatter(rng) for _ in range(length)]
    mentioned = [thing for thing in things for _ in range(rng.choice((1, 1, 2)))]
    for place, thing in zip(rng.sample(range(length), len(mentioned)), mentioned, strict=True):
        texts[place] = _mention(rng, thing, noun_said)
    return [(_sender(rng), text) for text in texts]


def _chatter(rng: random.Random) -> str:
    if rng.random() < INVENTED_SHARE:
        return "".join(_word(rng) for _ in range(rng.randint(1, 4))) if rng.random() < 0.9 else _latin(rng)
    return rng.choice(SMALL_TALK if rng.random() < 0.5 else REPLIES)


def _mention(rng: random.Random, thing: _Thing, noun_said: bool = False) -> str:
    if rng.random() < INVENTED_SHARE:
        before = rng.choice(("", _word(rng), _word(rng) + _word(rng)))
        noun = rng.choice(("这个{n}", "那个{n}", "{n}", "，{n}")) if noun_said or rng.random() < 0.3 else ""
        name = rng.choice(("{e}" + noun, noun + "{e}"))
        return _fill(rng, before + name + rng.choice(("", _word(rng), "，" + _word(rng) + _word(rng))), thing)
    return _fill(rng, rng.choice(MENTIONS_WITH_NOUN if noun_said else MENTIONS), thing)


def _fill(rng: random.Random, template: str, thing: _Thing) -> str:
    return template.format(e=thing.name, n=thing.noun, q=_asked(rng, thing))


def _asked(rng: random.Random, thing: _Thing) -> str:
    if rng.random() < INVENTED_SHARE:
        return rng.choice(ENDINGS).format(w=_word(rng), l=_latin(rng).lower())
    own = KINDS.get(thing.noun, ANY_QUESTIONS)
    return rng.choice(own if rng.random() < 0.6 else ANY_QUESTIONS)


def _thing(rng: random.Random) -> _Thing:
    if rng.random() < INVENTED_SHARE:
        noun = _word(rng)
    else:
        noun = rng.choice(tuple(KINDS) if rng.random() < 0.5 else MORE_KINDS)
    if rng.random() < 0.3:
        name = (
            "".join(rng.choice(SYLLABLES) for _ in range(rng.choice((2, 2, 3))))
            if rng.random() < 0.5
            else _word(rng) + _word(rng)
        )
    else:
        name = _latin(rng)
    return _Thing(noun, name)


def _word(rng: random.Random) -> str:
    """An invented word of two common hanzi."""
    return rng.choice(HANZI) + rng.choice(HANZI)


def _latin(rng: random.Random) -> str:
    """An invented name in Latin letters, in one of the shapes that names have."""
    first, second = (
        "".join(
            rng.choice(CONSONANTS) + rng.choice(VOWELS) + rng.choice(("", "", "n", "r", "s"))
            for _ in range(rng.choice((1, 2, 2)))
        )
        for _ in range(2)
    )
    return rng.choice(LATIN_SHAPES).format(
        a=first, b=second, A=first.capitalize(), B=second.capitalize(), c=second[:2], d=rng.randint(1, 99)
    )


def _sender(rng: random.Random) -> str:
    return rng.choice("甲乙丙丁戊")


def _junk(rng: random.Random) -> Dialogue:
    text = "".join(rng.choice(JUNK) for _ in range(rng.randint(6, 16)))
    return Dialogue(_window(rng, [_thing(rng)] if rng.random() < 0.5 else []), _sender(rng), text, "unknown", "junk")
