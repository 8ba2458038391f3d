"""The phrases that WhatsApp writes into exports, of the languages that most exports are in, in lower case.

They are the app's own (``Localizable.strings``, ``strings.xml``), as exports and the collection in starkdmi/whats_json
show them. To add a language, add its phrases, divided by ``|``.
"""

#: In place of a medium, iOS; by kind.
OMITTED = {
    "image": (
        "image omitted|gif omitted|bild weggelassen|gif weggelassen|imagen omitida|gif omitido|image absente"
        "|gif retiré|immagine omessa|gif esclusa|imagem ocultada|imagem não revelada|gif não revelada"
        "|afbeelding weggelaten|gif weggelaten|изображение отсутствует|gif отсутствует|зображення відсутнє"
        "|gif-анімацію пропущено|görüntü dahil edilmedi|gif dahil edilmedi|لم يتم إدراج الصورة"
        "|لم يتم إدراج صورة gif|फ़ोटो हटाई गई|gif छोड़ा गया|gambar tidak disertakan|gif tidak disertakan"
        "|画像は含まれていません|gifは含まれていません|이미지 생략됨|gif 생략됨|照片已忽略|gif 动态图已被忽略"
        "|圖片已略去|gif 已略去|圖像已省略|gif 圖片已被省略|obraz pominięty|plik gif pominięty|đã bỏ qua hình ảnh"
        "|đã bỏ qua ảnh gif|ไม่มีรูปภาพ|ละเว้น gif|bild utesluten|gif utesluten|billede udeladt|gif udeladt"
        "|bilde ikke inkludert|gif utelatt|ei kuvaa|gif-animaatio jätetty pois|kép küldése sikertelen"
        "|gif fájl kihagyása|obrázek vynechán|gif vynechán|obrázok vynechaný|gif vynechaný|התמונה הושמטה"
        "|gif הושמט|εικόνα παραλείφθηκε|παράληψη gif|imagine omisă|gif omis|imej tidak dimasukkan"
        "|gif tidak dimasukkan|imatge omesa|gif omès|تصویر حذف شد|gif حذف شد|slika izostavljena|gif izostavljen"
        "|ইমেজ বাদ দেওয়া হয়েছে"
    ),
    "file": (
        "document omitted|dokument weggelassen|documento omitido|document manquant|documento omesso"
        "|documento não revelado|document weggelaten|документ отсутствует|документ пропущено|belge dahil edilmedi"
        "|لم يتم إدراج المستند|डॉक्यूमेंट छोड़ा गया|dokumen tidak disertakan|ドキュメントは含まれていません"
        "|문서 생략됨|文档已省略|文件已略去|文件已忽略|dokument pominięty|đã bỏ qua tài liệu|ละเว้นเอกสาร"
        "|dokument uteslutet|dokument udeladt|utelatt dokument|dokumenttia ei sisällytetä|dokumentum kihagyva"
        "|dokument vynechán|dokument vynechaný|מסמך הושמט|έγγραφο παραλείφθηκε|document omis"
        "|dokumen tidak dimasukkan|document omès|سند حذف شد|dokument izostavljen"
    ),
    "other": (
        "video omitted|audio omitted|sticker omitted|contact card omitted|video note omitted"
        "|video message omitted|video weggelassen|audio weggelassen|sticker weggelassen|kontaktkarte ausgelassen"
        "|video omitido|audio omitido|sticker omitido|tarjeta de contacto omitida|vidéo absente|audio omis"
        "|sticker omis|fiche contact manquante|video omesso|audio omesso|sticker non incluso"
        "|scheda contatto omessa|vídeo omitido|áudio ocultado|figurinha omitida|cartão do contato omitido"
        "|vídeo não revelado|ficheiro de áudio não revelado|sticker não revelado|contacto não revelado"
        "|video weggelaten|audio weggelaten|sticker weggelaten|visitekaartje weggelaten|видео отсутствует"
        "|аудиофайл отсутствует|аудио отсутствует|стикер не добавлен|карточка контакта отсутствует|відео відсутнє"
        "|аудіо відсутнє|наклейку не додано|картка контакту відсутня|video dahil edilmedi|ses dahil edilmedi"
        "|çıkartma dahil edilmedi|kişi kartı dahil edilmedi|لم يتم إدراج الفيديوهات|لم يتم إدراج المقاطع الصوتية"
        "|تم حذف الملصقات|لم يتم إدراج بطاقة جهة اتصال|वीडियो छोड़ा गया|ऑडियो हटाई गयी|स्टिकर छोड़ा गया"
        "|कॉन्टैक्ट कार्ड छोड़ा गया|video tidak disertakan|audio tidak disertakan|stiker tidak disertakan"
        "|kartu kontak tidak disertakan|ビデオは含まれていません|音声は含まれていません"
        "|スタンプは含まれていません|連絡先カードを省略|비디오 생략됨|오디오 생략됨|스티커 제외됨"
        "|연락처 카드 생략됨|视频已忽略|音频已忽略|贴图已省略|联系人卡片已忽略|影片已略去|影片已省略|音訊已略去"
        "|音訊已省略|貼圖已略去|貼圖已忽略|聯絡人卡片已略去|聯絡人卡片已省略|wideo pominięte|audio pominięte"
        "|pominięto naklejkę|pominięta wizytówka kontaktu|đã bỏ video|bỏ qua tệp âm thanh|đã bỏ sticker"
        "|bỏ qua thẻ liên lạc|วิดีโอถูกลบ|ไม่มีไฟล์เสียง|ไม่มีสติกเกอร์|บัตรรายชื่อที่ละเว้น|video vynecháno"
        "|zvukový soubor vynechán|nálepka vynechána|vizitka vynechána"
    ),
}
#: In place of any medium, Android: in angle brackets.
MEDIA = (
    "media omitted|video message omitted|video note omitted|view once voice message omitted|medien ausgeschlossen"
    "|medien weggelassen|multimedia omitido|archivo omitido|archivos omitidos|médias omis|fichier omis"
    "|media omesso|media omessi|mídia oculta|mídia omitida|arquivo de mídia oculto|ficheiro não revelado"
    "|media weggelaten|без медиафайлов|файл пропущен|медіа пропущено|medya dahil edilmedi|medya atlanmış"
    "|تم استبعاد الوسائط|मीडिया के बिना|media tidak disertakan|メディアなし|メディアは含まれていません"
    "|미디어 파일 제외됨|미디어 파일을 생략한 대화내용|省略多媒体文件|媒体文件已忽略|忽略多媒體檔|略去多媒體檔"
    "|已略去媒體檔|pominięto multimedia|pliki pominięto|bỏ qua tệp phương tiện|bỏ qua media|ไฟล์สื่อถูกลบ"
    "|สื่อถูกลบ|media utelämnat|media har utelämnats|medier udeladt|mediefil udeladt|media utelatt|uten vedlegg"
    "|media jätettiin pois|media jätetty pois|média elhagyva|hiányzó médiafájl|média vynechány|média vynechána"
    "|médiá vynechané|המדיה לא נכללה|מדיה הושמטה|αρχείο παραλήφθηκε|εξαίρεση πολυμέσων|conținut media omis"
    "|media disingkirkan|media dikecualikan|fitxers multimèdia omesos|mitjans omesos|رسانه حذف شد"
    "|medijski zapis izostavljen|медији су изостављени|без файл|মিডিয়া বাদ দেওয়া হয়েছে|ஊடகங்கள் நீக்கப்பட்டது"
    "|మీడియా విస్మరించబడింది|میڈیا چھوڑ دیا گیا"
)
#: After the name of an attached file, Android: in round brackets.
ATTACHED = (
    "file attached|datei angehängt|archivo adjunto|archivo adjuntado|fichier joint|file allegato|arquivo anexado"
    "|ficheiro anexado|bestand bijgevoegd|файл добавлен|файл додано|dosya ekli|الملف مرفق|फ़ाइल अटैच की गई"
    "|फाइल अटैच कर दी गई है|file terlampir|添付ファイル有り|ファイル添付|파일 첨부됨|文件附件|附件檔案|檔案附件"
    "|załączono plik|załączony plik|tệp đính kèm|ไฟล์ที่แนบ|bifogad fil|fil vedhæftet|vedlagt fil|liitetiedosto"
    "|fájl csatolva|soubor byl přiložen|súbor pripojený|קובץ מצורף|συνημμένο αρχείο|fișier atașat"
    "|fail dilampirkan|arxiu adjunt|پیوست شد"
)
#: Where the sender, or an administrator, took a message back.
DELETED = (
    "this message was deleted|you deleted this message|this message was deleted by an admin"
    "|diese nachricht wurde gelöscht|du hast diese nachricht gelöscht|se eliminó este mensaje"
    "|eliminaste este mensaje|este mensaje fue eliminado|ce message a été supprimé|vous avez supprimé ce message"
    "|questo messaggio è stato eliminato|hai eliminato questo messaggio|esta mensagem foi apagada"
    "|mensagem apagada|você apagou esta mensagem|apagou esta mensagem|dit bericht is verwijderd"
    "|u hebt dit bericht verwijderd|je hebt dit bericht verwijderd|данное сообщение удалено|сообщение удалено"
    "|вы удалили данное сообщение|вы удалили это сообщение|це повідомлення було видалено"
    "|ви видалили це повідомлення|bu mesaj silindi|bu mesajı sildiniz|تم حذف هذه الرسالة|أنت حذفت هذه الرسالة"
    "|لقد حذفت هذه الرسالة|यह मैसेज डिलीट कर दिया गया है|आपने यह मैसेज डिलीट किया|pesan ini dihapus"
    "|pesan ini telah dihapus|anda menghapus pesan ini|anda telah menghapus pesan ini"
    "|このメッセージは削除されました|このメッセージを削除しました|이 메시지는 삭제되었습니다|삭제한 메시지입니다"
    "|이 메시지를 삭제했습니다|这条消息已被删除|此消息已删除|信息已删除|您已删除这条消息|您删除了这条消息"
    "|此訊息已刪除|您已刪除此訊息|ta wiadomość została usunięta|usunąłeś(-ęłaś) tę wiadomość"
    "|tin nhắn này đã bị xóa|tin nhắn này đã bị xoá|bạn đã xóa tin nhắn này|bạn đã xoá tin nhắn này"
    "|ข้อความนี้ถูกลบแล้ว|คุณได้ลบข้อความนี้|det här meddelandet raderades|du raderade det här meddelandet"
    "|denne besked blev slettet|du slettede denne besked|denne meldingen ble slettet|du slettet denne meldingen"
    "|tämä viesti poistettiin|poistit tämän viestin|ez az üzenet törlésre került|törölted ezt az üzenetet"
    "|tato zpráva byla smazána|tato zpráva byla odstraněna|tuto zprávu jste smazal/a|tuto zprávu jste odstranil/a"
    "|táto správa bola odstránená|túto správu ste odstránili|הודעה זו נמחקה|מחקת את ההודעה הזו"
    "|αυτό το μήνυμα διαγράφηκε|διαγράψατε αυτό το μήνυμα|acest mesaj a fost șters|ați șters acest mesaj"
    "|mesej ini telah dipadam|anda telah memadamkan mesej ini|aquest missatge s'ha suprimit"
)
#: At the end of a message that was edited.
EDITED = (
    "this message was edited|diese nachricht wurde bearbeitet|se editó este mensaje|ce message a été modifié"
    "|questo messaggio è stato modificato|mensagem editada|esta mensagem foi editada|dit bericht is bewerkt"
    "|данное сообщение изменено|сообщение изменено|це повідомлення було змінено|bu mesaj düzenlendi"
    "|تم تعديل هذه الرسالة|इस मैसेज को एडिट किया गया|pesan ini diedit|このメッセージは編集されました"
    "|이 메시지는 수정되었습니다|此消息已编辑|消息已编辑|此訊息已編輯|ta wiadomość została edytowana"
    "|tin nhắn này đã được chỉnh sửa"
)
#: Whole messages that are neither said nor media: calls, live locations, what only the phone can show.
OTHER = (
    "null|missed voice call|missed video call|missed group voice call|missed group video call"
    "|live location shared|waiting for this message. this may take a while|waiting for this message"
    "|verpasster sprachanruf|verpasster videoanruf|live-standort wird geteilt|llamada perdida"
    "|llamada de voz perdida|videollamada perdida|ubicación en tiempo real compartida|appel vocal manqué"
    "|appel vidéo manqué|localisation en direct partagée|chiamata vocale persa|videochiamata persa"
    "|posizione attuale condivisa|chamada de voz perdida|chamada de vídeo perdida|localização atual compartilhada"
    "|gemiste spraakoproep|gemiste video-oproep|пропущенный аудиозвонок|пропущенный видеозвонок"
    "|cevapsız sesli arama|cevapsız görüntülü arama|未接语音通话|未接视频通话|未接語音通話|未接視像通話|不在着信"
    "|音声通話不在着信|부재중 전화"
)
#: The first line of most exports; iOS writes it as if the chat's other side, or the group, had sent it.
ENCRYPTED = (
    "messages and calls are end-to-end|messages and calls are now end-to-end"
    "|nachrichten und anrufe sind ende-zu-ende|los mensajes y las llamadas están cifrados"
    "|les messages et les appels sont chiffrés|i messaggi e le chiamate sono crittografati"
    "|as mensagens e as chamadas são protegidas|as mensagens e chamadas são encriptadas"
    "|berichten en gesprekken worden end-to-end|сообщения и звонки защищены сквозным"
    "|mesajlar ve aramalar uçtan uca|الرسائل والمكالمات مشفرة|pesan dan panggilan terenkripsi"
    "|メッセージと通話はエンドツーエンド|消息和通话都进行端到端加密|訊息和通話經端對端加密"
    "|messages to this chat and calls are now secured|messages to this group are now secured"
)
